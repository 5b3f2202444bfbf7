"""Targets: the providers, servers and models that can be called, by name.

::

    [targets.azure_eastus]
    backend = "azure"
    style = "score"
    endpoint = "https://..."
    api_key = { env = "AZURE_PHI2_KEY" }

The file never contains secrets: the setting of a secret names an environment variable.
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

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A backend with its settings and its price, under a name.

    Attributes:
        name: ``[a-z][a-z0-9_]*``; receipts and reports show it.
        backend: The name of the backend (see :mod:`phi2sdk.backends`).
        settings: Keyword arguments of the constructor of the backend.
        price: The price; ``None`` if it is unknown.
        timeout: Limit in seconds for a request with its retries; ``None`` for the client's limit.
        attempts: Maximum number of calls for one request; ``None`` for the client's limit.
        simulated: Whether the target is an emulator, whose latencies and prices are not those of a
            provider.
        file: The configuration file of the target, whose secrets need a confirmation (see
            :mod:`phi2sdk.config.trust`); ``None`` for a target that a program created.
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
                f"{self.name!r} cannot be a target's name: use lowercase letters, digits and _, "
                "and begin with a letter"
            )

    def open(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        on_unsupported: OnUnsupported | None = None,
        program: Mapping[str, Any] | None = None,
    ) -> Backend:
        """Build the backend of the target.

        Args:
            environ: The environment; that of the process by default.
            on_unsupported: What to do about a parameter that the route does not support.
            program: Settings of the program, which replace those of the target.

        Raises:
            ConfigurationError: A setting, a secret or a dependency is missing; or the target of a
                file would send a secret that the user has not confirmed.
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
