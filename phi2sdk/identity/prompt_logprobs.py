"""Compare the log-probabilities that an endpoint returns with those of the local weights.

Both read the same text, so there is no sampling noise: a difference at a token is numerical, or it
is another model. A few hundred tokens are more informative than many sampled answers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from phi2sdk.analysis.retokenize import Scorer
from phi2sdk.errors import Phi2Error
from phi2sdk.identity.logprob_tests import LogprobsTest, logprobs_test
from phi2sdk.identity.weights import Loader
from phi2sdk.logprobs import Score, TokenLogprob
from phi2sdk.measure.folder import Run

__all__ = [
    "Scored",
    "TeacherForced",
    "Teller",
    "as_told",
    "ask_and_compare",
    "compare_told",
    "teacher_forced",
    "told_figures",
]

NOT_RETURNED = -9999.0
"""Servers return this, or less, for a token that is not among the most likely ones."""
LEAST = 1e-12
"""The smallest probability in a ratio: the rest beside the returned tokens may be 0."""


class Teller(Protocol):
    """The part of a :class:`~phi2sdk.backends.base.Backend` that is used here."""

    async def prompt_logprobs(self, text: str) -> tuple[TokenLogprob, ...]: ...


@dataclass(frozen=True, slots=True)
class TeacherForced:
    """The endpoint's log-probabilities compared with the local ones, over all tokens, in nats.

    Attributes:
        answers, tokens: The numbers that were compared.
        left_out: The answers that could not be compared, by cause.
        mean_difference: Mean of ``|log p - log p_ref|``.
        p99_difference: Its 99th percentile, an order statistic.
        top1: The share of tokens with the same most likely token, of those for which the endpoint
            returns it; ``None`` if it never does.
        kl_lower_bound: The mean over the tokens of a lower bound of ``KL(endpoint || reference)``,
            with three outcomes: the token itself, the reference's most likely token if its
            probability is returned, and all others. Merging outcomes can only lower a divergence.
    """

    answers: int
    tokens: int
    left_out: Mapping[str, int]
    mean_difference: float | None = None
    p99_difference: float | None = None
    top1: float | None = None
    kl_lower_bound: float | None = None


async def ask_and_compare(
    endpoint: Teller, model: Scorer, pairs: Sequence[tuple[str, str]]
) -> TeacherForced:
    """Request the log-probabilities of answers, and compare them with those of local weights.

    Args:
        endpoint: Receives one request for each answer, one after another.
        model: The local reference.
        pairs: The prompt and the answer of each text.

    Raises:
        InvalidRequest: The route of the endpoint does not return log-probabilities.
        BadResponse: The response does not have them.
    """
    left_out: Counter[str] = Counter()
    told: list[tuple[str, str, Sequence[TokenLogprob]]] = []
    for prompt, text in pairs:
        cause = _tokens(model, prompt, text)[2]
        if cause is not None:
            left_out[cause] += 1
            continue
        try:
            told.append((prompt, text, await endpoint.prompt_logprobs(prompt + text)))
        except Phi2Error as error:
            if not error.retryable:
                raise
            left_out["failed"] += 1
    return compare_told(model, told, left_out)


def compare_told(
    model: Scorer,
    told: Sequence[tuple[str, str, Sequence[TokenLogprob]]],
    left_out: Mapping[str, int] | None = None,
) -> TeacherForced:
    """Compare recorded log-probabilities of an endpoint with those of local weights.

    Args:
        model: The local reference.
        told: The prompt, the answer, and the log-probabilities of the tokens of both.
        left_out: The answers without log-probabilities, by cause.
    """
    causes = Counter(left_out or {})
    found = []
    for prompt, text, tokens in told:
        answer = _comparable(model, prompt, text, tokens)
        if isinstance(answer, str):
            causes[answer] += 1
        else:
            found.append(answer)
    scores = model.score_many([(before, after) for _, before, after in found])
    beside = [(tokens, score) for (tokens, _, _), score in zip(found, scores, strict=True)]
    return teacher_forced(beside, model, causes)


def _comparable(
    model: Scorer, prompt: str, text: str, tokens: Sequence[TokenLogprob]
) -> tuple[Sequence[TokenLogprob], list[int], list[int]] | str:
    """Return what was returned for the answer, and the ids of both; or why it has another form."""
    before, after, cause = _tokens(model, prompt, text)
    if cause is None and not _same_tokens(tokens, [*before, *after]):
        cause = "tokenized differently"
    return (tokens[len(before) :], before, after) if cause is None else cause


def as_told(model: Scorer, pairs: Sequence[tuple[str, str]]) -> list[tuple[TokenLogprob, ...]]:
    """Return the log-probabilities that local weights would return as an endpoint.

    Those of the tokens of the prompt are left out; an answer that cannot be scored has no tokens.
    """
    found = [_tokens(model, prompt, text) for prompt, text in pairs]
    scores = model.score_many([(before, after) for before, after, cause in found if not cause])
    return [() if cause else _own_tokens(model, before, next(scores)) for before, _, cause in found]


def _own_tokens(model: Scorer, before: Sequence[int], score: Score) -> tuple[TokenLogprob, ...]:
    def spelt(id: int) -> str:
        return model.piece(id).decode("utf-8", "replace")

    columns = zip(score.ids, score.logprob, score.argmax, score.best, strict=True)
    return (
        *(TokenLogprob(spelt(id), None, id) for id in before),
        *(TokenLogprob(spelt(id), p, id, (spelt(top), best)) for id, p, top, best in columns),
    )


def _tokens(model: Scorer, prompt: str, text: str) -> tuple[list[int], list[int], str | None]:
    """Return the tokens of the prompt and of the answer, and why they cannot be compared."""
    before, whole = model.encode(prompt), model.encode(prompt + text)
    if not before or len(whole) <= len(before) or len(whole) > model.context_length:
        return before, [], "empty or too long"
    if whole[: len(before)] != before:
        return before, [], "prompt and answer share a token"
    return before, whole[len(before) :], None


def teacher_forced(
    answers: Sequence[tuple[Sequence[TokenLogprob], Score]],
    model: Scorer,
    left_out: Mapping[str, int] | None = None,
) -> TeacherForced:
    """Compare an endpoint's log-probabilities of answers with local scores, token by token.

    Args:
        answers: The log-probabilities of each answer's tokens, and their score at temperature 1.
        model: The local reference, which decodes its tokens.
        left_out: The answers without log-probabilities, by cause.
    """
    differences: list[float] = []
    divergences: list[float] = []
    agree: list[bool] = []
    for told, score in answers:
        columns = zip(told, score.ids, score.logprob, score.argmax, score.best, strict=True)
        for token, id, own, argmax, best in columns:
            if not _returned(token.logprob):
                continue
            differences.append(abs(token.logprob - own))
            most_likely = _most_likely(token, model.piece(argmax))
            if token.best is not None:
                agree.append(most_likely is not None)
            beside = [] if most_likely is None or argmax == id else [(most_likely, best)]
            divergences.append(_divergence([(token.logprob, own), *beside]))
    if not differences:
        return TeacherForced(len(answers), 0, dict(left_out or {}))
    return TeacherForced(
        answers=len(answers),
        tokens=len(differences),
        left_out=dict(left_out or {}),
        mean_difference=float(np.mean(differences)),
        p99_difference=float(np.quantile(differences, 0.99, method="higher")),
        top1=float(np.mean(agree)) if agree else None,
        kl_lower_bound=float(np.mean(divergences)),
    )


def _same_tokens(told: Sequence[TokenLogprob], ids: Sequence[int]) -> bool:
    same = all(token.id in (None, id) for token, id in zip(told, ids, strict=False))
    return len(told) == len(ids) and same


def _most_likely(token: TokenLogprob, piece: bytes) -> float | None:
    """The endpoint's ``log p`` of its most_likely token, if that spells ``piece``."""
    if token.best is None or token.best[0] != piece.decode("utf-8", "replace"):
        return None
    return token.best[1]


def _divergence(outcomes: Sequence[tuple[float, float]]) -> float:
    """KL from pairs of log-probabilities ``(endpoint, reference)`` and the rest as one."""
    pairs = [(math.exp(q), math.exp(p)) for q, p in outcomes]
    pairs.append(tuple(1.0 - sum(column) for column in zip(*pairs, strict=True)))
    return max(0.0, sum(_terms(pairs)))


def _terms(pairs: Sequence[tuple[float, float]]) -> Iterator[float]:
    for q, p in pairs:
        if q > LEAST:
            yield q * math.log(q / max(p, LEAST))


Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """The figures and the tests of the log-probabilities of a run.

    Attributes:
        targets: Figures by target, with its test.
        precisions: The same figures by honest precision, against the reference on the same texts.
        tests: The test of each target that returned log-probabilities of two texts or more.
    """

    targets: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    precisions: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    tests: Mapping[str, LogprobsTest] = field(default_factory=dict)


def told_figures(run: Run, loader: Loader, honest: Sequence[str], *, alpha: float) -> Scored:
    """Compare and test the log-probabilities of a run; everything is empty if it has none.

    Args:
        run: The run.
        loader: Loads the weights.
        honest: Precisions whose numbers do not overflow; the first is the reference.
        alpha: The level of the test of each target.
    """
    if not run.told:
        return Scored()
    prompts, (first, *others) = run.identity_prompts, honest
    texts = list(dict.fromkeys((prompts[one.prompt], one.text) for one in run.told))
    own = {name: as_told(loader.load(name), texts) for name in others}
    patterns = {
        name: _logprobs(as_told(loader.load(name, dtype=_dtype(name)), texts))
        for name in loader.weights.candidates
    }
    model = loader.load(first)
    reference = _logprobs(as_told(model, texts))
    band = {name: _logprobs(told) for name, told in own.items()}
    at = {text: row for row, text in enumerate(texts)}
    targets, tests = {}, {}
    for name in dict.fromkeys(one.target for one in run.told):
        mine = [one for one in run.told if one.target == name]
        told = [(prompts[one.prompt], one.text, one.tokens) for one in mine if one.error is None]
        failed = len(mine) - len(told)
        found = compare_told(model, told, {"failed": failed} if failed else {})
        targets[name] = _figures(found) | {"left_out": dict(found.left_out)}
        endpoint = [
            (at[prompt, text], np.array([_number(token) for token in answer[0]]))
            for prompt, text, tokens in told
            if not isinstance(answer := _comparable(model, prompt, text, tokens), str)
        ]
        tested = _test(endpoint, reference, band, patterns, alpha)
        if tested is not None:
            tests[name] = tested
            targets[name] |= asdict(tested)
    precisions = {
        name: compare_told(
            model, [(*pair, tokens) for pair, tokens in zip(texts, told, strict=True)]
        )
        for name, told in own.items()
    }
    figures = {name: _figures(found) for name, found in precisions.items() if found.tokens}
    return Scored(targets, figures, tests)


def _dtype(candidate: str) -> str:
    """The errors of bfloat16 are as large as those of int8, and would hide its pattern."""
    return "float16" if candidate == "int8" else "auto"


def _number(token: TokenLogprob) -> float:
    return token.logprob if _returned(token.logprob) else math.nan


def _returned(logprob: float | None) -> TypeGuard[float]:
    return logprob is not None and logprob > NOT_RETURNED


def _logprobs(told: Sequence[Sequence[TokenLogprob]]) -> list[Floats]:
    """The log-probabilities of the tokens of each answer."""
    return [np.array([t.logprob for t in text if t.logprob is not None]) for text in told]


def _test(
    endpoint: Sequence[tuple[int, Floats]],
    reference: Sequence[Floats],
    band: Mapping[str, Sequence[Floats]],
    patterns: Mapping[str, Sequence[Floats]],
    alpha: float,
) -> LogprobsTest | None:
    """Test the endpoint's log-probabilities of texts, each with its index among the local ones."""
    if not endpoint:
        return None
    rows = [row for row, _ in endpoint]
    answer = np.repeat(np.arange(len(rows)), [len(one) for _, one in endpoint])
    values = np.concatenate([one for _, one in endpoint])
    known = np.isfinite(values)

    def beside(own: Sequence[Floats]) -> Floats:
        found = np.concatenate([own[row] - reference[row] for row in rows])
        return np.asarray(found[known], dtype=np.float64)

    differences = values[known] - np.concatenate([reference[row] for row in rows])[known]
    candidates = {name: beside(own) for name, own in patterns.items()}
    return logprobs_test(
        differences,
        answer[known],
        {name: beside(own) for name, own in band.items()},
        {name: one for name, one in candidates.items() if np.isfinite(one).all()},
        alpha=alpha,
    )


def _figures(found: TeacherForced) -> dict[str, Any]:
    return {
        "answers": found.answers,
        "tokens": found.tokens,
        "mean_difference": found.mean_difference,
        "p99_difference": found.p99_difference,
        "top1": found.top1,
        "kl_lower_bound": found.kl_lower_bound,
    }
