"""Find the tokens in which a model would have written a text, and score the text in them.

An endpoint returns characters. The tokenizer splits them in one way, but the model may have written
the same characters in other tokens, whose scores differ. So at each position where another token
that spells the following characters is the most likely one, the text is split again and scored
again. A text from greedy decoding of the model then has the most likely token at every position.

At the end, a token that a server cut at a stop or trimmed is excluded: if the most likely token
begins with all of the remaining text, the rest is not scored.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import TYPE_CHECKING, NamedTuple, Protocol

from phi2sdk.logprobs import Score

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

__all__ = [
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


AT_ONCE = 64
"""Number of texts whose tokens are searched together."""
ROUNDS = 2
"""Number of times that other tokens are tried."""
REST = 2.0
"""Nats that each further token of a new split is assumed to cost before it is scored."""

Ids = tuple[int, ...]


def as_written(model: LocalModel, pairs: Sequence[tuple[str, str]]) -> list[Ids]:
    """Return the tokens of each text in a split that the model finds likely.

    The tokenizer's split is scored together with all tokens that are possible at its positions.
    Where another token promises a more likely split of a piece, it is tried, and kept if it is
    one. Any function of prompt and text is a valid split for a test that treats target and control
    equally; a likely one removes noise.

    Args:
        model: The reference.
        pairs: Prompts and texts. An empty text has no tokens. A text that does not fit into the
            context keeps the tokenizer's split.
    """
    distinct = sorted(set(pairs))  # texts after the same prompt share its computation
    parts = [distinct[at : at + AT_ONCE] for at in range(0, len(distinct), AT_ONCE)]
    alphabet = _Alphabet.of(model)
    with ThreadPoolExecutor(os.cpu_count() if model.phi.small else 1) as pool:
        found = list(pool.map(lambda part: _likeliest(model, alphabet, part), parts))
    spelt = dict(zip(distinct, chain.from_iterable(found), strict=True))
    return [spelt[pair] for pair in pairs]


def _likeliest(
    model: LocalModel, alphabet: _Alphabet, pairs: Sequence[tuple[str, str]]
) -> list[Ids]:
    """Return the tokens of some texts."""
    from phi2sdk.backends.engine.likelihood import log_probabilities

    prompts = {prompt: tuple(model.encode(prompt)) for prompt in {prompt for prompt, _ in pairs}}
    texts = [_Text(text.encode(), tuple(model.encode(text)), alphabet) for _, text in pairs]
    room = [model.context_length - len(prompts[prompt]) for prompt, _ in pairs]
    trying = [at for at, text in enumerate(texts) if 0 < len(text.ids) <= room[at]]
    for last in [*[False] * ROUNDS, True]:
        found = log_probabilities(
            model,
            [(prompts[pairs[at][0]], texts[at].trial) for at in trying],
            [texts[at].options() for at in trying],
        )
        for at, logp in zip(trying, found, strict=True):
            texts[at].learn(logp)
        trying = [at for at in trying if not last and texts[at].propose(model.encode, room[at])]
    return [text.ids for text in texts]


class _Options(NamedTuple):
    """The tokens that spell the text at a position, and the end of each in bytes."""

    tokens: Ids
    ends: tuple[int, ...]


class _Change(NamedTuple):
    """Other tokens for a piece of the text, from ``start`` to ``end`` in bytes."""

    start: int
    end: int
    tokens: Ids


@dataclass(frozen=True, slots=True)
class _Alphabet:
    """Tokens by their bytes."""

    token: dict[bytes, int]
    sizes: Sequence[int]
    longest: int

    @classmethod
    def of(cls, model: LocalModel) -> _Alphabet:
        pieces = [(id, model.piece(id)) for id in range(model.vocab_size)]
        token = {data: id for id, data in reversed(pieces) if data}
        return cls(token, [len(data) for _, data in pieces], max(map(len, token), default=0))

    def options(self, data: bytes, start: int) -> _Options:
        """Return the tokens that spell the text at ``start``."""
        tokens, ends = [], []
        for end in range(start + 1, min(start + self.longest, len(data)) + 1):
            token = self.token.get(data[start:end])
            if token is not None:
                tokens.append(token)
                ends.append(end)
        return _Options(tuple(tokens), tuple(ends))


class _Text:
    """The search for a likely split of one text.

    A split is a mapping from places in the text, in bytes, to tokens.

    Args:
        data: The bytes of the text.
        ids: The tokenizer's split.
        alphabet: All tokens.
    """

    def __init__(self, data: bytes, ids: Ids, alphabet: _Alphabet) -> None:
        self._data = data
        self._alphabet = alphabet
        self._best = self._trial = self._places(0, ids)
        self._changes: list[_Change] = []
        self._options: dict[int, _Options] = {}
        self._logp: dict[int, Sequence[float]] = {}  # of the options
        self._tried: set[_Change] = set()

    @property
    def ids(self) -> Ids:
        """The best split so far."""
        return tuple(self._best.values())

    @property
    def trial(self) -> Ids:
        """The split to be scored next."""
        return tuple(self._trial.values())

    def options(self) -> list[Ids]:
        """Return the possible tokens at each position of the trial, including its own."""
        for place in self._trial:
            if place not in self._options:
                self._options[place] = self._alphabet.options(self._data, place)
        return [self._options[place].tokens for place in self._trial]

    def learn(self, logp: Sequence[Sequence[float]]) -> None:
        """Add the log-probabilities of the options of the trial, and keep the changes that pay.

        A change counts with its effect on the tokens after it, up to the next change.
        """
        old, self._logp = self._logp, dict(zip(self._trial, logp, strict=True))
        best, self._best = self._best, self._trial
        stops = [*(change.start for change in self._changes[1:]), len(self._data)]
        for change, stop in zip(self._changes, stops, strict=False):
            here = {at: token for at, token in best.items() if change.start <= at < stop}
            new = {at: token for at, token in self._trial.items() if change.start <= at < stop}
            if self._value(new, self._logp) <= self._value(here, old):
                outside = self._best.items() - new.items()
                self._best = dict(sorted({**dict(outside), **here}.items()))
                self._logp |= {at: old[at] for at in here}
        self._changes = []

    def propose(self, encode: Callable[[str], list[int]], room: int) -> bool:
        """Set the next trial; return whether there is one that fits into ``room`` tokens."""
        self._trial = self._best
        free = dict.fromkeys(self._best, True)
        for _, change in sorted(self._promising(encode), reverse=True):
            places = [at for at in free if change.start <= at < change.end]
            if all(free[at] for at in places):
                free |= dict.fromkeys(places, False)
                self._changes.append(change)
        self._changes.sort()
        for change in self._changes:
            kept = {at: id for at, id in self._trial.items() if not change.start <= at < change.end}
            own = self._places(change.start, change.tokens)
            self._trial = dict(sorted({**kept, **own}.items()))
        self._tried |= set(self._changes)
        return bool(self._changes) and len(self._trial) <= room

    def _promising(self, encode: Callable[[str], list[int]]) -> Iterator[tuple[float, _Change]]:
        """Yield changes with the gain that they promise."""
        places = list(self._best)
        borders = [*places[1:], len(self._data)]
        own = [self._value({place: token}, self._logp) for place, token in self._best.items()]
        before = [0.0, *accumulate(own)]
        for at, place in enumerate(places):
            options = self._options[place]
            for token, end, logp in zip(*options, self._logp[place], strict=True):
                last = bisect_left(borders, end)
                gain = logp - (before[last + 1] - before[at])
                if gain <= 0 or token == self._best[place]:
                    continue
                try:
                    rest = encode(self._data[end : borders[last]].decode())
                except UnicodeDecodeError:  # where the tokenizer cannot begin
                    continue
                change = _Change(place, borders[last], (token, *rest))
                gain -= REST * len(rest)
                if gain > 0 and change not in self._tried:
                    yield gain, change

    def _value(self, split: Mapping[int, int], logp: Mapping[int, Sequence[float]]) -> float:
        """Return the log-likelihood of a piece of a split."""
        return sum(logp[at][self._options[at].tokens.index(id)] for at, id in split.items())

    def _places(self, start: int, ids: Sequence[int]) -> dict[int, int]:
        ends = accumulate((self._alphabet.sizes[id] for id in ids), initial=start)
        return dict(zip(ends, ids, strict=False))
