"""Compute the regret of a target's greedy tokens under the local reference.

The regret of a token is ``max log p - log p(token)`` in nats: the log-probability of the most
likely token minus that of the token in the answer, after the same preceding text. Two honest
implementations diverge only at ties, where the regret is almost zero. Each token is conditional on
the preceding text of its own answer, so the tokens after a divergence are as informative as before.
The limit for a tie is measured: the change of the gap between the two most likely tokens from one
honest precision to another (:func:`near_tie`).

Texts are scored as received, after the prompt that was sent, in the tokens in which the reference
would have written them (:mod:`phi2sdk.analysis.retokenize`). White space with which the reference
begins and which the target's provider trims is restored first.
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

TIE = 0.01
"""Minimum limit for a tie, in nats."""
CLEAR = 1.0
"""Regret in nats above which the weights would not write a token in any precision."""
MOST_PARTED = 50
"""Number of different answers that are scored to identify their template."""
MOST = 1e4
"""Maximum regret in nats, because the infinite regret of an impossible token is not valid JSON."""
ROUNDING, OFTEN = 1.5, 0.99
"""Factor on the measured limit for a tie, because other hardware rounds differently."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """An answer of a target, to be scored after its prompt.

    Attributes:
        prompt: The id of the prompt.
        repetitions: The repetitions with this answer.
        text: The answer as received.
        fork: Number of characters before the first divergence from the reference target's answer;
            ``None`` if they are equal.
    """

    prompt: str
    repetitions: tuple[int, ...]
    text: str
    fork: int | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """The score of an answer, and its first token that differs from the reference's answer."""

    score: Score
    fork: int | None = None


@dataclass(frozen=True, slots=True)
class Regret:
    """The regret of one answer, in nats.

    Attributes:
        tokens: Number of tokens.
        off: Number of tokens that were not the most likely ones.
        maximum: The largest regret.
        at_fork: The regret at the first divergence from the reference target's answer; ``None`` if
            there is no divergence, or the answer ends there.
        first: The first token whose regret is not a tie; ``None`` if there is none.
        at_first: The regret of ``first``.
    """

    tokens: int
    off: int
    maximum: float
    at_fork: float | None = None
    first: int | None = None
    at_first: float | None = None

    @staticmethod
    def of(scored: Scored, tie: float = TIE) -> Regret:
        """Return the regret from a score at temperature 1."""
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
    """An answer that differs from the reference target's."""

    prompt: str
    repetitions: tuple[int, ...]
    regret: Regret


@dataclass(frozen=True, slots=True)
class TargetRegret:
    """The regret of the greedy answers of a target.

    Attributes:
        tie: Regret in nats up to which a token is a tie.
        answers, tokens: Number scored; equal texts for one prompt count once.
        off: Number of tokens that were not the most likely ones.
        maximum: The largest regret.
        forks: The answers that differ from the reference target's.
        template: The other template in which the weights would have written most of ``forks``.
    """

    tie: float
    answers: int
    tokens: int
    off: int
    maximum: float
    forks: tuple[AnswerRegret, ...] = ()
    template: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the regret for a file."""
        return asdict(self)

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> TargetRegret:
        """Return the regret that :meth:`to_json` wrote.

        Raises:
            pydantic.ValidationError: The data are not valid.
        """
        return _TARGET.validate_python(plain)


_TARGET = TypeAdapter(TargetRegret)


def greedy_answers(pairing: Pairing) -> list[Greedy]:
    """Return the answers of a target to score: each text of a prompt once, without empty ones.

    Args:
        pairing: Answers of the reference target and of this target.
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
    """Score each answer with the local reference; ``None`` if it cannot be scored."""
    pairs = [(prompts[answer.prompt], answer.text) for answer in answers]
    return [
        None if score is None else Scored(score, _token_at(model, score, answer))
        for answer, score in zip(answers, score_as_written(model, pairs), strict=True)
    ]


def near_tie(honest: Iterable[tuple[Score, Score]]) -> float:
    """Return the limit for a tie: 1.5 times the 99th percentile of the change of the gaps.

    Args:
        honest: Scores of the same tokens in the reference and in another honest precision.
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
        templates: The text of each prompt in each other template.
        answers: The answers; only those that differ from the reference target's are used.
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
    """Return the regret of a target's answers.

    Args:
        answers: The answers of :func:`greedy_answers`.
        scores: Their scores by :func:`score_greedy`.
        tie: The limit for a tie in nats; see :func:`near_tie`.
        template: The template found by :func:`written_in`.
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
    """Yield the change of the gap between the two most likely tokens, position by position."""
    for best, other, gap, moved in zip(a.argmax, b.argmax, a.margin, b.margin, strict=True):
        yield abs(gap - moved) if best == other else gap + moved


def _token_at(model: Scorer, score: Score, answer: Greedy) -> int | None:
    """Return the token with the first character in which the answers differ."""
    if answer.fork is None:
        return None
    left = len(answer.text[: answer.fork].encode())
    for at, id in enumerate(score.ids):
        left -= len(model.piece(id))
        if left < 0:
            return at
    return None


def _restored(text: str, reference: str) -> str:
    """Return ``text`` with the leading white space of the reference's answer if it has none."""
    if not text or text[0].isspace():
        return text
    return reference[: len(reference) - len(reference.lstrip())] + text
