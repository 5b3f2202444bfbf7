"""A key that does not print itself."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["EMULATOR_KEY", "Secret"]

EMULATOR_KEY = "test-key"
"""The key of the emulators unless they are given another one. It is no secret."""


class Secret:
    """Holds a key or token; only :meth:`reveal` gives it out.

    ``repr``, ``str`` and formatting show ``'***'``. A secret refuses to be pickled or
    copied into a state, so that it cannot travel into a log or a record by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value.strip()

    def reveal(self) -> str:
        """The key in clear, for the header that needs it and nothing else."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: pass the name of its environment variable")
