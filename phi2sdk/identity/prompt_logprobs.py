"""Compare the log-probabilities that an endpoint returns with those of the local weights.

Both read the same text, so there is no sampling noise: a difference at a token is numerical, or it
is another model. A few hundred tokens are more informative than many sampled answers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from phi2sdk.analysis.retokenize import Scorer
from phi2sdk.errors import Phi2Error
from phi2sdk.identity.weights import Loader
from phi2sdk.logprobs import Score, TokenLogprob
from phi2sdk.measure.folder import Run

__all__ = [
    "TeacherForced",
    "Teller",
    "as_told",
    "ask_and_compare",
    "compare_told",
    "teacher_forced",
    "told_figures",
]

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
    found: list[tuple[Sequence[TokenLogprob], list[int], list[int]]] = []
    for prompt, text, tokens in told:
        before, after, cause = _tokens(model, prompt, text)
        if cause is None and not _same_tokens(tokens, [*before, *after]):
            cause = "tokenized differently"
        if cause is None:
            found.append((tokens[len(before) :], before, after))
        else:
            causes[cause] += 1
    scores = model.score_many([(before, after) for _, before, after in found])
    beside = [(tokens, score) for (tokens, _, _), score in zip(found, scores, strict=True)]
    return teacher_forced(beside, model, causes)


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
            if token.logprob is None:
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


def told_figures(
    run: Run, loader: Loader, honest: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures by target, and by honest precision against the reference on the same texts.

    Both are empty where no endpoint was asked.

    Args:
        run: The run.
        loader: Loads the weights.
        honest: Precisions whose numbers do not overflow; the first is the reference.
    """
    if not run.told:
        return {}, {}
    prompts, (first, *others) = run.identity_prompts, honest
    model = loader.load(first)
    targets = {}
    for name in dict.fromkeys(one.target for one in run.told):
        mine = [one for one in run.told if one.target == name]
        told = [(prompts[one.prompt], one.text, one.tokens) for one in mine if one.error is None]
        failed = len(mine) - len(told)
        found = compare_told(model, told, {"failed": failed} if failed else {})
        targets[name] = _figures(found) | {"left_out": dict(found.left_out)}
    texts = list(dict.fromkeys((prompts[one.prompt], one.text) for one in run.told))
    own = {name: as_told(loader.load(name), texts) for name in others}
    model = loader.load(first)
    precisions = {
        name: compare_told(
            model, [(*pair, tokens) for pair, tokens in zip(texts, told, strict=True)]
        )
        for name, told in own.items()
    }
    return targets, {name: _figures(found) for name, found in precisions.items() if found.tokens}


def _figures(found: TeacherForced) -> dict[str, Any]:
    return {
        "answers": found.answers,
        "tokens": found.tokens,
        "mean_difference": found.mean_difference,
        "p99_difference": found.p99_difference,
        "top1": found.top1,
        "kl_lower_bound": found.kl_lower_bound,
    }
