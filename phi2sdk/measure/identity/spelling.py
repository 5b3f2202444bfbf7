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
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from phi2sdk.measure.identity.table import Floats

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
        pairs: Prompt and text of each; the tokens of an empty text are none.
    """
    from phi2sdk.backends.engine.alternatives import log_probabilities

    alphabet = _Alphabet.of(model)
    prompts = {prompt: tuple(model.encode(prompt)) for prompt in {prompt for prompt, _ in pairs}}
    texts = [_Text(text.encode(), tuple(model.encode(text))) for _, text in pairs]
    trying = [(at, 0, text.best) for at, text in enumerate(texts) if text.best]
    while trying:
        options = [alphabet.options(texts[at].data, ids) for at, _, ids in trying]
        found = log_probabilities(
            model,
            [(prompts[pairs[at][0]], ids) for at, _, ids in trying],
            [choice for choice, _ in options],
        )
        for (at, place, ids), (choice, ends), logp in zip(trying, options, found, strict=True):
            for branch in texts[at].learn(place, ids, choice, ends, logp):
                spelt = alphabet.respelled(model, texts[at].data, ids, branch)
                if spelt is not None:
                    texts[at].remember(branch, spelt)
        trying = [(at, *node) for at, text in enumerate(texts) if (node := text.next())]
    return [text.best for text in texts]


@dataclass(frozen=True, slots=True)
class _Branch:
    """Another token at a place: the text can become as likely as ``bound`` at most."""

    bound: float
    place: int
    token: int
    end: int  # in bytes of the text


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
    total: float = -np.inf
    _heap: list[tuple[float, int, Ids]] = field(default_factory=list)
    _seen: set[Ids] = field(default_factory=set)
    _tried: int = 0

    def learn(
        self,
        place: int,
        ids: Ids,
        choice: Sequence[Ids],
        ends: Sequence[Sequence[int]],
        logp: Floats,
    ) -> list[_Branch]:
        """Take in the log-probabilities of a spelling and of what could stand in its places.

        Args:
            place: From here on it was changed.
            ids: The spelling.
            choice: At each place its own token first, then the others.
            ends: Where in the text each of them ends.
            logp: Theirs, ``[T, K]``.
        """
        self._tried += 1
        own = logp[:, 0]
        before = np.concatenate([[0.0], np.cumsum(own)])  # [T + 1]
        if before[-1] > self.total:
            self.total, self.best = float(before[-1]), ids
        borders = [each[0] for each in ends]
        branches = []
        for at in range(place, len(ids)):
            for column in range(1, len(choice[at])):
                end = ends[at][column]
                after = int(np.searchsorted(borders, end)) + 1  # the first place behind it
                bound = float(
                    before[at] + logp[at, column] + before[-1] - before[min(after, len(ids))]
                )
                if bound > self.total:
                    branches.append(_Branch(bound, at, choice[at][column], end))
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


@dataclass(frozen=True, slots=True)
class _Alphabet:
    """Tokens by their bytes."""

    token: dict[bytes, int]
    piece: list[bytes]
    longest: int

    @classmethod
    def of(cls, model: LocalModel) -> _Alphabet:
        piece = [model.piece(id) for id in range(model.vocab_size)]
        token = {data: id for id, data in reversed(list(enumerate(piece))) if data}
        return cls(token, piece, max(map(len, token), default=0))

    def options(self, data: bytes, ids: Ids) -> tuple[list[Ids], list[list[int]]]:
        """At each place the own token and the others that spell what comes there; their ends."""
        choice, ends, at = [], [], 0
        for own in ids:
            here, there = [own], [at + len(self.piece[own])]
            for end in range(at + 1, min(at + self.longest, len(data)) + 1):
                token = self.token.get(data[at:end])
                if token is not None and token != own:
                    here.append(token)
                    there.append(end)
            choice.append(tuple(here))
            ends.append(there)
            at = there[0]
        return choice, ends

    @staticmethod
    def respelled(model: LocalModel, data: bytes, ids: Ids, branch: _Branch) -> Ids | None:
        """The spelling with the branch's token; ``None`` where it ends inside a character."""
        try:
            rest = data[branch.end :].decode()
        except UnicodeDecodeError:  # where the tokenizer cannot begin
            return None
        return (*ids[: branch.place], branch.token, *model.encode(rest))
