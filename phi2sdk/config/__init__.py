"""Targets and their configuration: ``phi2.toml``, the environment, and what a file may send."""

from phi2sdk.config.environment import FromEnvironment
from phi2sdk.config.lookup import (
    DEFAULT_CONFIG,
    configured,
    in_environment,
    load_book,
    load_config,
    own_prices,
    resolve,
)
from phi2sdk.config.target import Target

__all__ = [
    "DEFAULT_CONFIG",
    "FromEnvironment",
    "Target",
    "configured",
    "in_environment",
    "load_book",
    "load_config",
    "own_prices",
    "resolve",
]
