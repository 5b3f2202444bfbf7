"""How a handler says no."""

from __future__ import annotations

__all__ = ["Refusal"]


class Refusal(Exception):
    """A request that the provider answers with an error of its own."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
