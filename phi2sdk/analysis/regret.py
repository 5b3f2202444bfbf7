"""Was it a close call? The regret of a target's greedy tokens under the local reference.

At each token of an answer the regret is ``max log p - log p(token)`` in nats: how much likelier
the reference's own choice was, after the very text that the target had written so far. Two honest
implementations part where it is next to nothing; after that each goes on as its own text demands,
so the later tokens are as telling as the first. How much is next to nothing, the local weights say
themselves: how far every precision that counts as honest moves the gap between the two likeliest
tokens (:func:`near_tie`).

Texts are scored as they were received, under the prompt that was sent, in the pieces in which the
reference would have written them (:mod:`phi2sdk.analysis.retokenize`). White space that the
reference begins with and the target's provider trims is put back first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from phi2sdk.analysis.agreement import Pairing, common_prefix, same_cut
from phi2sdk.analysis.retokenize import Scorer, score_as_written
from phi2sdk.logprobs import Score

__all__ = [
    "TIE",
    "AnswerRegret",
    "Greedy",
    "Regret",
    "Scored",
    "TargetRegret",
    "greedy_answers",
    "near_tie",
    "regret_of",
    "score_greedy",
    "written_in",
]

TIE = 0.01
"""Nats within which the reference might have chosen otherwise, at the least."""
CLEAR = 1.0
"""Nats: the weights would not have written a token with a larger regret, in any precision."""
MOST_PARTED = 50
"""So many answers that part show in which template they were written."""
MOST = 1e4
"""Nats; a token of no probability at all has an infinite regret, which no file can hold."""
ROUNDING, OFTEN = 1.5, 0.99
"""Other hardware rounds otherwise: so many times the move that is seldom exceeded here."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """A target's answer, to be scored after its prompt.

    Attributes:
        prompt: What was asked.
        repetitions: In which the answer was this.
        text: The answer as received.
        fork: How many characters it has in common with the reference target's answer before
            they part; ``None`` where they are equal.
    """

    prompt: str
    repetitions: tuple[int, ...]
    text: str
    fork: int | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer's score, and the token at which it parts from the reference target's answer."""

    score: Score
    fork: int | None = None


@dataclass(frozen=True, slots=True)
class Regret:
    """One answer; nats.

    Attributes:
        tokens: How many it has.
        off: Of these, how many were not the likeliest.
        maximum: The largest regret.
        at_fork: That where it parts from the reference target's answer; ``None`` where it does
            not, or ends there.
        first: The first token whose regret is more than a tie; ``None`` where there is none.
        at_first: Its regret.
    """

    tokens: int
    off: int
    maximum: float
    at_fork: float | None = None
    first: int | None = None
    at_first: float | None = None

    @staticmethod
    def of(scored: Scored, tie: float = TIE) -> Regret:
        """From a score at temperature 1."""
        score, fork = scored.score, scored.fork
        values = [min(value, MOST) for value in score.regret]
        first = next((at for at, value in enumerate(values) if value > tie), None)
        return Regret(
            tokens=len(values),
            off=sum(own != best for own, best in zip(score.ids, score.argmax, strict=True)),
            maximum=max(values, default=0.0),
            at_fork=values[fork] if fork is not None and fork < len(values) else None,
            first=first,
            at_first=None if first is None else values[first],
        )


@dataclass(frozen=True, slots=True)
class AnswerRegret:
    """An answer that parts from the reference target's."""

    prompt: str
    repetitions: tuple[int, ...]
    regret: Regret


@dataclass(frozen=True, slots=True)
class TargetRegret:
    """The greedy answers of a target.

    Attributes:
        tie: Nats that count as none.
        answers, tokens: How many were scored; equal texts for one prompt count once.
        off: Tokens that were not the likeliest.
        maximum: The largest regret.
        forks: The answers that part from the reference target's.
        template: The other template in which the weights would have written most of these.
    """

    tie: float
    answers: int
    tokens: int
    off: int
    maximum: float
    forks: tuple[AnswerRegret, ...] = ()
    template: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        return asdict(self)

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> TargetRegret:
        """What :meth:`to_json` wrote.

        Raises:
            pydantic.ValidationError: It is none.
        """
        return _TARGET.validate_python(plain)


_TARGET = TypeAdapter(TargetRegret)


def greedy_answers(pairing: Pairing) -> list[Greedy]:
    """The answers of a target to be scored, each text of a prompt once; empty ones left out.

    Args:
        pairing: Answers of the reference target and of this one.
    """
    found: dict[tuple[str, str, int | None], list[int]] = defaultdict(list)
    for prompt, pairs in pairing.pairs.items():
        for reference, own in pairs:
            text = _restored(own.raw, reference.raw)
            same = text == reference.raw or same_cut(reference, own)
            fork = None if same else common_prefix(text, reference.raw)
            if text:
                found[prompt, text, fork].append(own.key.repetition)
    return [
        Greedy(prompt, tuple(times), text, fork) for (prompt, text, fork), times in found.items()
    ]


def score_greedy(
    model: Scorer, prompts: Mapping[str, str], answers: Sequence[Greedy]
) -> list[Scored | None]:
    """Each answer under the local reference; ``None`` where it cannot be scored."""
    pairs = [(prompts[answer.prompt], answer.text) for answer in answers]
    return [
        None if score is None else Scored(score, _token_at(model, score, answer))
        for answer, score in zip(answers, score_as_written(model, pairs), strict=True)
    ]


def near_tie(honest: Iterable[tuple[Score, Score]]) -> float:
    """Nats that count as none: 1.5 times what honest numerics moves 99 of 100 gaps by.

    Args:
        honest: The same tokens under the reference and under another honest precision.
    """
    moves = [move for pair in honest for move in _moves(*pair)]
    if not moves:
        return TIE
    return max(TIE, ROUNDING * float(np.quantile(moves, OFTEN, method="higher")))


def written_in(
    model: Scorer, templates: Mapping[str, Mapping[str, str]], answers: Sequence[Greedy]
) -> str | None:
    """Return the template in which the weights would have written most of the answers.

    Args:
        model: The local reference.
        templates: By prompt, its text in each other template.
        answers: Of which those count that part from the reference target's.
    """
    parted = [answer for answer in answers if answer.fork is not None][:MOST_PARTED]
    explained: Counter[str] = Counter()
    for name in {name for answer in parted for name in templates[answer.prompt]}:
        known = [one for one in parted if name in templates[one.prompt]]
        pairs = [(templates[one.prompt][name], one.text) for one in known]
        explained[name] = sum(
            score is not None and max(score.regret, default=MOST) <= CLEAR
            for score in score_as_written(model, pairs)
        )
    best, count = next(iter(explained.most_common(1)), ("", 0))
    return best if count > len(parted) / 2 else None


def regret_of(
    answers: Sequence[Greedy],
    scores: Sequence[Scored | None],
    *,
    tie: float = TIE,
    template: str | None = None,
) -> TargetRegret:
    """The regret of a target's answers.

    Args:
        answers: From :func:`greedy_answers`.
        scores: What :func:`score_greedy` says of each.
        tie: Nats that count as none; see :func:`near_tie`.
        template: From :func:`written_in`.
    """
    known = [
        (answer, Regret.of(scored, tie))
        for answer, scored in zip(answers, scores, strict=True)
        if scored is not None
    ]
    return TargetRegret(
        tie=tie,
        answers=len(known),
        tokens=sum(regret.tokens for _, regret in known),
        off=sum(regret.off for _, regret in known),
        maximum=max((regret.maximum for _, regret in known), default=0.0),
        forks=tuple(
            AnswerRegret(answer.prompt, answer.repetitions, regret)
            for answer, regret in known
            if answer.fork is not None
        ),
        template=template,
    )


def _moves(a: Score, b: Score) -> Iterator[float]:
    """By how much the gap between the two likeliest tokens differs, place by place."""
    for best, other, gap, moved in zip(a.argmax, b.argmax, a.margin, b.margin, strict=True):
        yield abs(gap - moved) if best == other else gap + moved


def _token_at(model: Scorer, score: Score, answer: Greedy) -> int | None:
    """The token that holds the first character in which the answers differ."""
    if answer.fork is None:
        return None
    left = len(answer.text[: answer.fork].encode())
    for at, id in enumerate(score.ids):
        left -= len(model.piece(id))
        if left < 0:
            return at
    return None


def _restored(text: str, reference: str) -> str:
    """``text`` with the white space in front that the reference's answer has and it lacks."""
    if not text or text[0].isspace():
        return text
    return reference[: len(reference) - len(reference.lstrip())] + text
