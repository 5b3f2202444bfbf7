"""One of the targets that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi2sdk.client.sync_client import AsyncPhi2Client
from phi2sdk.config.environment import FromEnvironment
from phi2sdk.config.target import Target
from phi2sdk.pricing.price import Price
from phi2sdk.secret import Secret
from phi2sdk.text import encodable


@dataclass(frozen=True, slots=True)
class Candidate:
    """A client with what a report must know about its target.

    Attributes:
        name: The target's name.
        backend: The backend's name.
        client: Asks it.
        settings: What identifies it in the run's configuration; never a key.
        price: What it costs; ``None``: unknown.
        simulated: Its latencies and price are an emulator's.
    """

    name: str
    backend: str
    client: AsyncPhi2Client
    settings: Mapping[str, Any] = field(default_factory=dict)
    price: Price | None = None
    simulated: bool = False

    @classmethod
    def of(cls, target: Target) -> Candidate:
        """A candidate from a configured target.

        Raises:
            ConfigurationError: Its backend cannot be built.
        """
        return cls(
            target.name,
            target.backend,
            AsyncPhi2Client(target),
            target.settings,
            target.price,
            target.simulated,
        )

    def describe(self) -> dict[str, Any]:
        """The candidate as ``run.json`` keeps it."""
        price = None if self.price is None else self.price.model_dump(mode="json")
        return {
            "backend": self.backend,
            "settings": described(self.settings),
            "price": price,
            "simulated": self.simulated,
        }


def described(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a target as JSON types, without its keys."""
    return {name: _plain(value) for name, value in settings.items()}


def _plain(value: object) -> Any:
    """A setting as JSON; what is not plain data is named by its type, keys are not shown."""
    if isinstance(value, Secret):
        return "(secret)"
    if isinstance(value, FromEnvironment):
        return {"env": value.variable}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, str | Path):
        return encodable(str(value))
    return value if isinstance(value, int | float | bool | None) else type(value).__name__
