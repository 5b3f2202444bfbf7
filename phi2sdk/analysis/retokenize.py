"""Find the tokens in which a model would have written a text, and score the text in them.

An endpoint returns characters. The tokenizer splits them in one way, but the model may have written
the same characters in other tokens, whose scores differ. So at each position where another token
that spells the following characters is the most likely one, the text is split again and scored
again. A text from greedy decoding of the model then has the most likely token at every position.

At the end, a token that a server cut at a stop or trimmed is excluded: if the most likely token
begins with all of the remaining text, the rest is not scored.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, Protocol

from phi2sdk.logprobs import Score

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

__all__ = [
    "MOST_SPELLINGS",
    "Scorer",
    "as_written",
    "score_as_written",
]

LONGEST_PIECE = 32
"""Maximum number of characters per token, which limits the part of a long text that is read."""
MOST_PASSES = 24
"""Maximum number of positions at which a text is split again; the rest keeps the tokenizer's."""


class Scorer(Protocol):
    """The part of :class:`~phi2sdk.backends.engine.LocalModel` that this module uses."""

    @property
    def context_length(self) -> int: ...
    def encode(self, text: str) -> list[int]: ...
    def piece(self, id: int) -> bytes: ...
    def score_many(
        self, pairs: Iterable[tuple[Sequence[int], Sequence[int]]]
    ) -> Iterator[Score]: ...


def score_as_written(model: Scorer, pairs: Sequence[tuple[str, str]]) -> list[Score | None]:
    """Return the score of each text after its prompt; ``None`` if nothing can be scored.

    Args:
        model: The model that scores the texts.
        pairs: Prompts and texts. Text beyond the context is excluded, as is an incomplete
            character (U+FFFD) at the end.
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
    """Return the number of tokens that can be scored, and better tokens, if there are any."""
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


MOST_SPELLINGS = 24
"""Maximum number of spellings of a text that are tried."""

Ids = tuple[int, ...]


def as_written(model: LocalModel, pairs: Sequence[tuple[str, str]]) -> list[Ids]:
    """Return the tokens of each text in its most likely spelling.

    Args:
        model: The reference.
        pairs: Prompts and texts. An empty text has no tokens. A text that does not fit into the
            context keeps the tokenizer's spelling.
    """
    from phi2sdk.backends.engine.likelihood import log_probabilities

    alphabet = _Alphabet.of(model)
    prompts = {prompt: tuple(model.encode(prompt)) for prompt in {prompt for prompt, _ in pairs}}
    texts = [_Text(text.encode(), tuple(model.encode(text)), alphabet) for _, text in pairs]
    room = {prompt: model.context_length - len(ids) for prompt, ids in prompts.items()}
    trying = [
        (at, 0, text.best)
        for at, text in enumerate(texts)
        if 0 < len(text.best) <= room[pairs[at][0]]
    ]
    while trying:
        found = log_probabilities(
            model,
            [(prompts[pairs[at][0]], ids) for at, _, ids in trying],
            [[option.tokens for option in texts[at].options(ids)] for at, _, ids in trying],
        )
        for (at, place, ids), logp in zip(trying, found, strict=True):
            for branch in texts[at].learn(place, ids, logp.tolist()):
                spelt = _likelier_pieces(model, texts[at].data, ids, branch)
                if spelt is not None and len(spelt) <= room[pairs[at][0]]:
                    texts[at].remember(branch, spelt)
        trying = [(at, *node) for at, text in enumerate(texts) if (node := text.next())]
    return [text.best for text in texts]


class _Options(NamedTuple):
    """The tokens that spell the text at a position, and the end of each in bytes."""

    tokens: Ids
    ends: tuple[int, ...]


class _Branch(NamedTuple):
    """Another token at a position; ``bound`` limits the likelihood of the text with it."""

    bound: float
    place: int
    token: int
    end: int  # in bytes of the text


@dataclass(frozen=True, slots=True)
class _Alphabet:
    """Tokens by their bytes."""

    token: dict[bytes, int]
    longest: int

    @classmethod
    def of(cls, model: LocalModel) -> _Alphabet:
        pieces = [(id, model.piece(id)) for id in range(model.vocab_size)]
        token = {data: id for id, data in reversed(pieces) if data}
        return cls(token, max(map(len, token), default=0))

    def options(self, data: bytes, start: int) -> _Options:
        """Return the tokens that spell the text at ``start``."""
        tokens, ends = [], []
        for end in range(start + 1, min(start + self.longest, len(data)) + 1):
            token = self.token.get(data[start:end])
            if token is not None:
                tokens.append(token)
                ends.append(end)
        return _Options(tuple(tokens), tuple(ends))


@dataclass(slots=True)
class _Text:
    """The search for the most likely spelling of one text.

    Attributes:
        data: The bytes of the text.
        best: The most likely spelling so far.
        total: The log-likelihood of ``best``.
    """

    data: bytes
    best: Ids
    alphabet: _Alphabet
    total: float = -math.inf
    _heap: list[tuple[float, int, Ids]] = field(default_factory=list)
    _seen: set[Ids] = field(default_factory=set)
    _known: dict[int, _Options] = field(default_factory=dict)
    _tried: int = 0

    def options(self, ids: Ids) -> list[_Options]:
        """Return the possible tokens at each position of a spelling, including its own."""
        found, at = [], 0
        for own in ids:
            here = self._known.get(at)
            if here is None:
                here = self._known[at] = self.alphabet.options(self.data, at)
            found.append(here)
            at = here.ends[here.tokens.index(own)]
        return found

    def learn(self, place: int, ids: Ids, logp: Sequence[Sequence[float]]) -> list[_Branch]:
        """Add the log-probabilities of a spelling and of the possible tokens at its positions.

        Args:
            place: The first position that was changed.
            ids: The spelling.
            logp: The log-probabilities of the options at each position.
        """
        self._tried += 1
        options = self.options(ids)
        chosen = [one.tokens.index(own) for one, own in zip(options, ids, strict=True)]
        borders = [one.ends[own] for one, own in zip(options, chosen, strict=True)]
        before = [0.0, *accumulate(row[own] for row, own in zip(logp, chosen, strict=True))]
        total = before[-1]
        if total > self.total:
            self.total, self.best = total, ids
        branches = []
        for at in range(place, len(ids)):
            for column, (token, end) in enumerate(zip(*options[at], strict=True)):
                bound = before[at] + logp[at][column]
                if column == chosen[at] or bound <= self.total:
                    continue
                after = bisect_left(borders, end) + 1  # the first position after it
                bound += total - before[after]
                if bound > self.total:
                    branches.append(_Branch(bound, at, token, end))
        return branches

    def remember(self, branch: _Branch, spelt: Ids) -> None:
        """Add a spelling that may be more likely."""
        if spelt not in self._seen:
            self._seen.add(spelt)
            heapq.heappush(self._heap, (-branch.bound, branch.place + 1, spelt))

    def next(self) -> tuple[int, Ids] | None:
        """Return the most promising spelling, if any can still be more likely than the best."""
        if self._tried >= MOST_SPELLINGS or not self._heap or -self._heap[0][0] <= self.total:
            return None
        _, place, spelt = heapq.heappop(self._heap)
        return place, spelt


def _likelier_pieces(model: LocalModel, data: bytes, ids: Ids, branch: _Branch) -> Ids | None:
    """Return the spelling with the branch's token; ``None`` if it ends inside a character."""
    try:
        rest = data[branch.end :].decode()
    except UnicodeDecodeError:  # where the tokenizer cannot begin
        return None
    return (*ids[: branch.place], branch.token, *model.encode(rest))
