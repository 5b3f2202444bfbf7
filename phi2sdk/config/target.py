"""Targets: what ``phi2.toml`` and the environment say can be called.

::

    [targets.azure_eastus]
    backend = "azure"
    style = "score"
    endpoint = "https://..."
    key = { env = "AZURE_PHI2_KEY" }

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
from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import Secret

if TYPE_CHECKING:  # they need pydantic, which a client without a file and a price does without
    from phi2sdk.pricing.book import Entries, PriceBook
    from phi2sdk.pricing.price import Price

__all__ = [
    "DEFAULT_CONFIG",
    "FromEnvironment",
    "Target",
    "configured",
    "load_book",
    "load_config",
    "own_prices",
    "resolve",
]

DEFAULT_CONFIG = "phi2.toml"
"""Read from the working directory where nothing else is said."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """A setting written as ``{ env = "NAME" }``: looked up when its target is opened.

    Attributes:
        variable: The environment variable.
        where: The file and the place in it, for the error.
        secret: Whether it is a key.
    """

    variable: str
    where: str
    secret: bool

    def __str__(self) -> str:
        return f"${self.variable}"

    def resolve(self, environ: Mapping[str, str]) -> str | Secret:
        """Its value.

        Raises:
            ConfigurationError: The variable is not set.
        """
        found = environ.get(self.variable, "").strip()
        if not found:
            raise ConfigurationError(
                f"{self.where}: the environment variable {self.variable} is not set"
            )
        return Secret(found) if self.secret else found


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
            from phi2sdk.config import trust

            trust.check(self, environ, program)
        settings = {
            name: value.resolve(environ) if isinstance(value, FromEnvironment) else value
            for name, value in {**self.settings, **program}.items()
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


def load_config(path: str | Path) -> dict[str, Target]:
    """The targets of a configuration file, by name.

    What stands as ``{ env = "NAME" }`` is looked up when its target is opened: a key that is not
    set stands in the way of its own target only.

    Args:
        path: The file.

    Raises:
        ConfigurationError: The file is missing, is no TOML, holds a key in clear, or a table of
            it is wrong; the message names the place.
    """
    from phi2sdk.config import file as config_file

    return config_file.targets(path)


def configured(config: str | Path | None = None) -> dict[str, Target]:
    """The targets of the configuration; none where there is no file and none was asked for.

    Args:
        config: The file; by default ``phi2.toml`` of the working directory, if there is one.
    """
    if config is None and not Path(DEFAULT_CONFIG).is_file():
        return {}
    return load_config(config or DEFAULT_CONFIG)


def load_book(path: str | Path | None = None) -> PriceBook:
    """The price book, with the entries of a configuration file over its own.

    Args:
        path: The file; ``phi2.toml`` of the working directory by default, if there is one.

    Raises:
        ConfigurationError: The file is missing or wrong.
    """
    from phi2sdk.pricing.book import price_book

    return price_book().with_entries(own_prices(path))


def own_prices(path: str | Path | None = None) -> Entries:
    """The entries of the price book that a configuration file brings; none without a file."""
    from phi2sdk.config import file as config_file
    from phi2sdk.pricing.book import Entries

    if path is None and not Path(DEFAULT_CONFIG).is_file():
        return Entries()
    return config_file.read(path or DEFAULT_CONFIG)


def resolve(target: str, config: str | Path | None = None) -> Target:
    """A target by its name in the configuration file, or a backend by its own name.

    Args:
        target: The name.
        config: The file; by default ``phi2.toml`` of the working directory, if there is one.

    Raises:
        ConfigurationError: There is neither a target nor a backend of that name.
    """
    targets = configured(config)
    if target in targets:
        return targets[target]
    if target in backends.known():
        return Target(target, target)
    names = (*targets, *(name for name in backends.known() if name not in targets))
    raise ConfigurationError(f"there is no target {target!r}: use one of {', '.join(names)}")


def _timeouts(name: str, limits: Mapping[str, Any]) -> Any:
    from phi2sdk.transport.http import Timeouts

    try:
        return Timeouts(**{key: float(value) for key, value in limits.items()})
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(
            f"target {name!r}: timeouts takes connect, idle and attempt, each in seconds"
        ) from None
