"""Was it a close call? The regret of a target's greedy tokens under the local reference.

At each token of an answer the regret is ``max log p - log p(token)`` in nats: how much likelier
the reference's own choice was, after the very text that the target had written so far. Two honest
implementations part where it is next to nothing; after that each goes on as its own text demands,
so the later tokens are as telling as the first. How much is next to nothing, the local weights say
themselves: their own answers in every precision that counts as honest (:func:`near_tie`).

Texts are scored as they were received, under the prompt that was sent, in the pieces in which the
reference would have written them (:mod:`phi2sdk.measure.spelling`). White space that the
reference begins with and the target's provider trims is put back first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from phi2sdk.measure.agreement import Pairing, same_cut
from phi2sdk.measure.divergence import common_prefix
from phi2sdk.measure.spelling import Scorer, score_as_written
from phi2sdk.score import Score

__all__ = [
    "TIE",
    "AnswerRegret",
    "Greedy",
    "Regret",
    "TargetRegret",
    "greedy_answers",
    "near_tie",
    "regret_of",
    "score_greedy",
]

TIE = 0.01
"""Nats within which the reference might have chosen otherwise, at the least."""
MARGIN = 2.0
"""Other hardware rounds otherwise: so many times the largest regret of an honest precision here."""


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
    def of(score: Score, *, tie: float = TIE, fork: int | None = None) -> Regret:
        """From a score at temperature 1 and the token at which the answers part."""
        values = score.regret
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
    """

    tie: float
    answers: int
    tokens: int
    off: int
    maximum: float
    forks: tuple[AnswerRegret, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        return asdict(self)

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> TargetRegret:
        """What :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError: It is none.
        """
        forks = tuple(
            AnswerRegret(fork["prompt"], tuple(fork["repetitions"]), Regret(**fork["regret"]))
            for fork in plain["forks"]
        )
        return TargetRegret(**{**plain, "forks": forks})


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
    model: Scorer, prompts: Mapping[str, str], answers: Sequence[Greedy], *, tie: float = TIE
) -> list[Regret | None]:
    """The regret of each answer under a model; ``None`` where it cannot be scored.

    Args:
        model: The local reference.
        prompts: The prompts' texts.
        answers: Of one target or of several.
        tie: Nats that count as none; see :func:`near_tie`.
    """
    pairs = [(prompts[answer.prompt], answer.text) for answer in answers]
    return [
        None
        if score is None
        else Regret.of(score, tie=tie, fork=_token_at(model, score, answer.text, answer.fork))
        for answer, score in zip(answers, score_as_written(model, pairs), strict=True)
    ]


def near_tie(honest: Iterable[Regret | None]) -> float:
    """Nats that count as none, from the local weights' own answers in each honest precision.

    Args:
        honest: The regret of those answers under the reference.
    """
    return max(TIE, MARGIN * max((one.maximum for one in honest if one), default=0.0))


def regret_of(
    answers: Sequence[Greedy], regrets: Sequence[Regret | None], *, tie: float = TIE
) -> TargetRegret:
    """The regret of a target's answers.

    Args:
        answers: From :func:`greedy_answers`.
        regrets: What :func:`score_greedy` says of each.
        tie: What it was told.
    """
    known = [(answer, r) for answer, r in zip(answers, regrets, strict=True) if r is not None]
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
    )


def _token_at(model: Scorer, score: Score, text: str, fork: int | None) -> int | None:
    """The token that holds the first character in which the answers differ."""
    if fork is None:
        return None
    left = len(text[:fork].encode())
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
