"""A class for keys and tokens that are never printed."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["EMULATOR_KEY", "Secret"]

EMULATOR_KEY = "test-key"
"""Default key of the emulators, which is not a secret."""


class Secret:
    """Holds a key or token; only :meth:`reveal` returns it.

    ``repr``, ``str`` and formatting show ``'***'``. A secret cannot be pickled or copied into a
    state, so that it does not reach a log or a record by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value.strip()

    def reveal(self) -> str:
        """Return the key in plain text, for the header that needs it only."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Secret cannot be pickled. Pass the name of its environment variable instead"
        )
