"""Targets by name, from ``phi2.toml`` or the environment, and the prices that the file brings.

The reader of the file needs pydantic. It is imported on use, so that a client without a file does
without.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phi2sdk import backends
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from phi2sdk.pricing.book import Entries, PriceBook

__all__ = [
    "DEFAULT_CONFIG",
    "configured",
    "load_book",
    "load_config",
    "own_prices",
    "resolve",
]

DEFAULT_CONFIG = "phi2.toml"
"""Read from the working directory where nothing else is said."""


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
    from phi2sdk.config.file import targets

    return targets(path)


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
    from phi2sdk.config.file import read
    from phi2sdk.pricing.book import Entries

    if path is None and not Path(DEFAULT_CONFIG).is_file():
        return Entries()
    return read(path or DEFAULT_CONFIG)


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
