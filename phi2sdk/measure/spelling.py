"""Scoring a text in the pieces in which the model would have written it.

A text comes back from an endpoint as characters. The tokenizer cuts them up in its one way, but a
model may have written the same word in other pieces, and the scores of pieces that it did not
choose say nothing of the text. So wherever the likeliest token is another one that spells what
comes next, the text is cut up there anew, and scored again: a text that the model's greedy
decoding wrote has the likeliest token everywhere, whatever its pieces.

A piece that a server cut at a stop, or trimmed, is left out at the end: where the likeliest token
begins with all the text that is left, there is nothing more to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from phi2sdk.score import Score

__all__ = ["Scorer", "score_as_written"]

LONGEST_PIECE = 32
"""Characters of a token at most, so that of an endless text no more is looked at than can fit."""
MOST_PASSES = 24
"""A text whose pieces differ at more places keeps the tokenizer's from there on."""


class Scorer(Protocol):
    """The part of :class:`~phi2sdk.backends.engine.LocalModel` that is used here."""

    @property
    def context_length(self) -> int: ...
    def encode(self, text: str) -> list[int]: ...
    def piece(self, id: int) -> bytes: ...
    def score_many(
        self, pairs: Iterable[tuple[Sequence[int], Sequence[int]]]
    ) -> Iterator[Score]: ...


def score_as_written(model: Scorer, pairs: Sequence[tuple[str, str]]) -> list[Score | None]:
    """The score of each text after its prompt; ``None`` where nothing can be scored.

    Args:
        model: Who scores.
        pairs: Prompt and text of each. What does not fit into the context is left out, as is
            half a character at the end, which is all that U+FFFD tells of it.
    """
    prompts = [model.encode(prompt) for prompt, _ in pairs]
    most = LONGEST_PIECE * model.context_length
    texts = [text[:most].rstrip("\ufffd") for _, text in pairs]
    ids = [
        model.encode(text)[: max(0, model.context_length - len(prompt))]
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    scores: list[Score | None] = [None] * len(pairs)
    left = [at for at, found in enumerate(ids) if found and prompts[at]]
    for _ in range(MOST_PASSES):
        again = []
        found_scores = model.score_many([(prompts[at], ids[at]) for at in left])
        for at, score in zip(left, found_scores, strict=True):
            end, better = _respelled(model, score, texts[at])
            scores[at] = _first(score, end)
            if better is not None:
                ids[at] = better[: model.context_length - len(prompts[at])]
                again.append(at)
        if not again:
            break
        left = again
    return scores


def _respelled(model: Scorer, score: Score, text: str) -> tuple[int, list[int] | None]:
    """How many tokens can be judged, and better ones, if there are any."""
    data, begin = text.encode(), 0
    for at, (own, best) in enumerate(zip(score.ids, score.argmax, strict=True)):
        piece = model.piece(best)
        if own != best and piece and data.startswith(piece, begin):
            try:
                after = data[begin + len(piece) :].decode()
            except UnicodeDecodeError:  # inside a character, where the tokenizer cannot begin
                return len(score.ids), None
            return len(score.ids), [*score.ids[:at], best, *model.encode(after)]
        if own != best and piece.startswith(data[begin : begin + len(piece) + 1]):
            return at, None
        begin += len(model.piece(own))
    return len(score.ids), None


def _first(score: Score, count: int) -> Score:
    if count == len(score.ids):
        return score
    columns = ("ids", "logprob", "entropy", "variance", "argmax", "best", "margin")
    return replace(score, **{name: getattr(score, name)[:count] for name in columns})
