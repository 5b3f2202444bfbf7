"""What a decode loop yields."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """One generated token.

    Attributes:
        id: The token.
        text: The text that became complete with it; empty while a character is unfinished.
        logprob: Its natural-log probability under the model, before temperature and truncation.
        special: It ends the answer; its text is empty, except for a U+FFFD where the answer ends
            amid a character.
    """

    id: int
    text: str
    logprob: float
    special: bool = False
