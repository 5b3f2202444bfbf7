"""In which tokens was a text written?

An endpoint gives text, and a tokenizer cuts it up in its one way. A model that samples may have
spelt the same bytes in other tokens, and then the likelihood of the tokenizer's tokens says nothing
of it: they were not drawn, and may be hardly possible. At temperature 1 that concerns a tenth of
the bundled model's answers of 24 tokens, enough to accuse it of not being itself.

So a text is scored in the spelling that the reference finds likeliest. The search is by branch and
bound: at each place, another token that spells what comes next is worth trying only if the text
would become likelier even if the rest of the token that it displaces cost nothing.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

__all__ = ["MOST_SPELLINGS", "as_written"]

MOST_SPELLINGS = 24
"""So many spellings of a text are tried at most."""

Ids = tuple[int, ...]


def as_written(model: LocalModel, pairs: Sequence[tuple[str, str]]) -> list[Ids]:
    """The tokens of each text in its likeliest spelling.

    Args:
        model: The reference.
        pairs: Prompt and text of each; the tokens of an empty text are none. One that does not fit
            into the context gets the tokenizer's spelling.
    """
    from phi2sdk.backends.engine.alternatives import log_probabilities

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
                spelt = _respelled(model, texts[at].data, ids, branch)
                if spelt is not None and len(spelt) <= room[pairs[at][0]]:
                    texts[at].remember(branch, spelt)
        trying = [(at, *node) for at, text in enumerate(texts) if (node := text.next())]
    return [text.best for text in texts]


class _Options(NamedTuple):
    """The tokens that spell what comes at a place of a text, and where each ends, in bytes."""

    tokens: Ids
    ends: tuple[int, ...]


class _Branch(NamedTuple):
    """Another token at a place: the text can become as likely as ``bound`` at most."""

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
        """What may stand at ``start``."""
        tokens, ends = [], []
        for end in range(start + 1, min(start + self.longest, len(data)) + 1):
            token = self.token.get(data[start:end])
            if token is not None:
                tokens.append(token)
                ends.append(end)
        return _Options(tuple(tokens), tuple(ends))


@dataclass(slots=True)
class _Text:
    """The search in one text.

    Attributes:
        data: Its bytes.
        best: The likeliest spelling so far.
        total: Its log-likelihood.
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
        """What may stand at each place of a spelling, its own token among them."""
        found, at = [], 0
        for own in ids:
            here = self._known.get(at)
            if here is None:
                here = self._known[at] = self.alphabet.options(self.data, at)
            found.append(here)
            at = here.ends[here.tokens.index(own)]
        return found

    def learn(self, place: int, ids: Ids, logp: Sequence[Sequence[float]]) -> list[_Branch]:
        """Take in the log-probabilities of a spelling and of what could stand in its places.

        Args:
            place: From here on it was changed.
            ids: The spelling.
            logp: Of each place's options.
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
                after = bisect_left(borders, end) + 1  # the first place behind it
                bound += total - before[after]
                if bound > self.total:
                    branches.append(_Branch(bound, at, token, end))
        return branches

    def remember(self, branch: _Branch, spelt: Ids) -> None:
        """A spelling that may be likelier."""
        if spelt not in self._seen:
            self._seen.add(spelt)
            heapq.heappush(self._heap, (-branch.bound, branch.place + 1, spelt))

    def next(self) -> tuple[int, Ids] | None:
        """The most promising spelling, if any can still be likelier than the best."""
        if self._tried >= MOST_SPELLINGS or not self._heap or -self._heap[0][0] <= self.total:
            return None
        _, place, spelt = heapq.heappop(self._heap)
        return place, spelt


def _respelled(model: LocalModel, data: bytes, ids: Ids, branch: _Branch) -> Ids | None:
    """The spelling with the branch's token; ``None`` where it ends inside a character."""
    try:
        rest = data[branch.end :].decode()
    except UnicodeDecodeError:  # where the tokenizer cannot begin
        return None
    return (*ids[: branch.place], branch.token, *model.encode(rest))
