"""Read parameters from a JSON body and check their types and ranges."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from phi2sdk.emulator.exchange import Refusal


class Parameters:
    """Typed access to a JSON object; null counts as absent. Errors raise ``Refusal``."""

    def __init__(self, values: Mapping[str, Any], *, status: int = 400) -> None:
        self._values = values
        self._status = status

    def has(self, name: str) -> bool:
        """Return whether the parameter is present and not null."""
        return self._values.get(name) is not None

    def get(self, name: str) -> object:
        """Return the value without checks, or ``None``."""
        return self._values.get(name)

    def refuse(self, name: str, problem: str, *, code: str | None = None) -> Refusal:
        """Return a refusal that names the parameter."""
        return Refusal(self._status, f"`{name}` {problem}", code=code, param=name)

    def number(
        self,
        name: str,
        default: float,
        *,
        low: float = float("-inf"),
        high: float = float("inf"),
    ) -> float:
        """Return a number within ``[low, high]``."""
        value = self._values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(name, "must be a number")
        number = float(value) if abs(value) <= sys.float_info.max else math.inf
        if not math.isfinite(number) or not low <= number <= high:
            raise self.refuse(name, f"must lie in [{low}, {high}], given {number}")
        return number

    def integer(self, name: str, *, low: int = -(2**63), high: int = 2**63 - 1) -> int | None:
        """Return an integer within ``[low, high]``, by default of 64 bits, or ``None``."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(name, "must be an integer")
        if not low <= value <= high:
            raise self.refuse(name, f"must lie in [{low}, {high}]")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a boolean."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refuse(name, "must be true or false")
        return value

    def text(self, name: str) -> str | None:
        """Return a string, or ``None``."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.refuse(name, "must be a string")
        return value

    def strings(self, name: str, *, at_most: int | None = None) -> tuple[str, ...]:
        """Return a string or a list of strings as a tuple; empty if absent."""
        value = self._values.get(name)
        if value is None:
            return ()
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise self.refuse(name, "must be a string or a list of strings")
        if at_most is not None and len(items) > at_most:
            raise self.refuse(name, f"takes at most {at_most} strings, given {len(items)}")
        return tuple(items)

    def neutral(self, name: str, *values: object) -> None:
        """Refuse a parameter with a value that is not in ``values``."""
        value = self._values.get(name)
        if value is not None and value not in values:
            raise self.refuse(name, f"is not available on this server (only {values[0]!r})")
