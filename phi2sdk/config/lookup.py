"""Find targets by name in ``phi2.toml`` and the environment, and read the prices of the file.

The reader of the file needs pydantic and is imported on use, so that a client without a file does
not load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from phi2sdk import backends
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError, Phi2Error

if TYPE_CHECKING:
    from phi2sdk.pricing.book import Entries, PriceBook

DEFAULT_CONFIG = "phi2.toml"
"""The configuration file that is read from the working directory by default."""


def load_config(path: str | Path) -> dict[str, Target]:
    """Return the targets of a configuration file, by name.

    A value written as ``{ env = "NAME" }`` is read from the environment when its target is opened,
    so that a variable that is not set affects only its own target.

    Args:
        path: The file.

    Raises:
        ConfigurationError: The file is missing, is not TOML, contains a secret in plain text, or
            has a wrong table; the message names the table.
    """
    from phi2sdk.config.file import targets

    return targets(path)


def configured(config: str | Path | None = None) -> dict[str, Target]:
    """Return the targets of the configuration file; none if there is no default file.

    Args:
        config: The file; by default ``phi2.toml`` of the working directory, if it exists.
    """
    if config is None and not Path(DEFAULT_CONFIG).is_file():
        return {}
    return load_config(config or DEFAULT_CONFIG)


def load_book(path: str | Path | None = None) -> PriceBook:
    """Return the price book with the prices of a configuration file, which have precedence.

    Args:
        path: The file; by default ``phi2.toml`` of the working directory, if it exists.

    Raises:
        ConfigurationError: The file is missing or wrong.
    """
    from phi2sdk.pricing.book import price_book

    return price_book().with_entries(own_prices(path))


def own_prices(path: str | Path | None = None) -> Entries:
    """Return the price book entries of a configuration file; none without a file."""
    from phi2sdk.config.file import read
    from phi2sdk.pricing.book import Entries

    if path is None and not Path(DEFAULT_CONFIG).is_file():
        return Entries()
    return read(path or DEFAULT_CONFIG)


def resolve(target: str, config: str | Path | None = None) -> Target:
    """Return a target of the configuration file, or a backend that is named like a target.

    Args:
        target: The name.
        config: The file; by default ``phi2.toml`` of the working directory, if it exists.

    Raises:
        ConfigurationError: Neither a target nor a backend has that name.
    """
    targets = configured(config)
    if target in targets:
        return targets[target]
    if target in backends.known():
        return Target(target, target)
    names = (*targets, *(name for name in backends.known() if name not in targets))
    raise ConfigurationError(f"there is no target {target!r}: use one of {', '.join(names)}")


def in_environment(name: str, environ: Mapping[str, str]) -> bool:
    """Return whether the environment configures a backend.

    It does if it has a setting without which the backend cannot be built.
    """
    try:
        cls = backends.find(name)
    except Phi2Error:
        return False
    if any(environ.get(cls.environment.get(setting, ""), "").strip() for setting in cls.required):
        return True
    return _opens(name, environ) and not _opens(name, {})


def _opens(name: str, environ: Mapping[str, str]) -> bool:
    try:
        Target(name, name).open(environ=environ)
    except Phi2Error:
        return False
    return True
