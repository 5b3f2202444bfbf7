"""Targets: what ``phi2.toml`` and the environment say can be called.

::

    [targets.azure_eastus]
    backend = "azure"
    style = "score"
    endpoint = "https://..."
    api_key = { env = "AZURE_PHI2_KEY" }

Keys never stand in the file: a setting that holds one names an environment variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi2sdk import backends
from phi2sdk.backends.base import Backend, OnUnsupported
from phi2sdk.backends.settings import without_aliases
from phi2sdk.config.environment import FromEnvironment
from phi2sdk.errors import ConfigurationError

if TYPE_CHECKING:  # it needs pydantic, which a client without a file and a price does without
    from phi2sdk.pricing.price import Price

__all__ = ["Target"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Target:
    """Something that can be asked, under a name.

    Attributes:
        name: ``[a-z][a-z0-9_]*``; stands in receipts and reports.
        backend: The backend's name (see :mod:`phi2sdk.backends`).
        settings: Keyword arguments of the backend's constructor.
        price: What it costs; ``None``: unknown.
        timeout: Seconds for a whole request, retries included; ``None`` for the client's.
        attempts: Calls at most for one request; ``None`` for the client's.
        simulated: It is an emulator: its latencies and prices are not a provider's.
        file: The configuration file that it stands in, whose secrets need a confirmation (see
            :mod:`phi2sdk.config.trust`); ``None`` for one that a program has made.
    """

    name: str
    backend: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    price: Price | None = None
    timeout: float | None = None
    attempts: int | None = None
    simulated: bool = False
    file: Path | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"{self.name!r} cannot be a target's name: use small letters, digits and _, "
                "beginning with a letter"
            )

    def open(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        on_unsupported: OnUnsupported | None = None,
        program: Mapping[str, Any] | None = None,
    ) -> Backend:
        """Build its backend.

        Args:
            environ: The environment; the process's own by default.
            on_unsupported: About a parameter that the route cannot do.
            program: Settings that the program gives, over the target's own.

        Raises:
            ConfigurationError: A setting, a key or a dependency is missing; or the target stands
                in a file and would send a secret that the user has not confirmed.
        """
        environ, program = os.environ if environ is None else environ, program or {}
        if self.file is not None:
            from phi2sdk.config import trust  # only for targets of a file

            trust.check(self, environ, program)
        cls = backends.find(self.backend)
        chosen = {**without_aliases(cls, self.settings), **without_aliases(cls, program)}
        settings = {
            name: value.resolve(environ) if isinstance(value, FromEnvironment) else value
            for name, value in chosen.items()
        }
        if on_unsupported is not None:
            settings["on_unsupported"] = on_unsupported
        if isinstance(limits := settings.get("timeouts"), Mapping):
            settings["timeouts"] = _timeouts(self.name, limits)
        return backends.build(
            self.backend,
            target=self.name,
            settings=settings,
            environ=environ,
        )


def _timeouts(name: str, limits: Mapping[str, Any]) -> Any:
    from phi2sdk.transport.http import Timeouts

    try:
        return Timeouts(**{key: float(value) for key, value in limits.items()})
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(
            f"target {name!r}: timeouts takes connect, idle and attempt, each in seconds"
        ) from None
