"""A wrapper for secrets that prevents accidental printing."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["EMULATOR_KEY", "Secret"]

EMULATOR_KEY = "test-key"
"""The default key of the emulators, which is public."""


class Secret:
    """A key or token, which only :meth:`reveal` returns.

    ``repr``, ``str`` and formatting show ``'***'``. A secret cannot be pickled or copied into a
    state, so that it does not reach a log or a record by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value.strip()

    def reveal(self) -> str:
        """Return the secret, only for use in the header that needs it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: pass the name of its environment variable")
