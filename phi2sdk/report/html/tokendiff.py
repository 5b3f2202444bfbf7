"""Two answers, token by token: what they share, and where they part."""

from __future__ import annotations

from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from phi2sdk.measure.agreement import common_prefix
from phi2sdk.measure.tokens import ReferenceTokenizer

__all__ = ["GONE", "NEW", "SAME", "TokenDiff", "token_diff"]

SAME, GONE, NEW = 0, 1, 2
"""In both; in the reference alone; in the other alone."""


@dataclass(frozen=True, slots=True)
class TokenDiff:
    """An answer against the reference's.

    Attributes:
        segments: ``(kind, text)`` in reading order, a change's loss before its gain; those that
            are not gone make the answer, those that are not new the reference's.
        divergence: How many tokens they begin with in common; ``None`` where they are equal.
    """

    segments: tuple[tuple[int, str], ...]
    divergence: int | None


def token_diff(reference: str, other: str, tokenizer: ReferenceTokenizer) -> TokenDiff:
    """What turns ``reference`` into ``other`` with the fewest changes of tokens."""
    if reference == other:
        return TokenDiff(((SAME, other),) if other else (), None)
    mine, theirs = tokenizer.pieces(reference), tokenizer.pieces(other)
    segments: list[tuple[int, str]] = []
    gone = new = ""
    for code in Levenshtein.opcodes(mine, theirs):
        if code.tag != "equal":
            gone += "".join(mine[code.src_start : code.src_end])
            new += "".join(theirs[code.dest_start : code.dest_end])
            continue
        segments += [(GONE, gone), (NEW, new)]
        segments.append((SAME, "".join(theirs[code.dest_start : code.dest_end])))
        gone = new = ""
    segments += [(GONE, gone), (NEW, new)]
    shared = common_prefix(tokenizer.encode(reference), tokenizer.encode(other))
    return TokenDiff(tuple(part for part in segments if part[1]), shared)
