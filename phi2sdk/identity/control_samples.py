"""Sample many answers of a local model in one batch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from phi2sdk.backends.engine.memory import PREFILL_TOKENS
from phi2sdk.identity.call_table import CallTable
from phi2sdk.identity.weights import Loader
from phi2sdk.sampling import Sampling

if TYPE_CHECKING:
    from phi2sdk.backends.engine import LocalModel

__all__ = [
    "CONTROL",
    "ControlSummary",
    "SLOTS",
    "calibrated",
    "sample_precisions",
    "sample_texts",
    "spread",
]

SLOTS = 128
"""The maximum number of answers in a batch, if memory allows."""
CONTROL = 2
"""Control answers for each call of a target. They cost nothing but time: two raise the power of a
call by a third, compared with one."""
LEAST = 32
"""Fewer answers than this are not divided among threads."""

_Asked = tuple[list[int], Sampling]


def sample_texts(
    model: LocalModel,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    seed: int,
    slots: int = SLOTS,
    progress: Callable[[int], object] | None = None,
) -> list[str]:
    """Return one sampled answer to each prompt, as text.

    An answer ends with the end-of-text token or after ``max_tokens``; stops are not applied. It
    depends on ``seed`` and its index in ``prompts``, and not on the other answers of the batch
    (except for the last bit of a logit).

    Args:
        model: The model.
        prompts: The prompts; each as often as it is to be answered.
        sampling: The sampling parameters; their seed is not used.
        seed: The seed of all answers.
        slots: The maximum number of answers in a batch.
        progress: Receives the number of finished answers.

    Raises:
        ContextLengthExceeded: A prompt and ``max_tokens`` do not fit.
        ProviderFault: The numbers of the model overflowed.
    """
    if not prompts:
        return []
    tokens = {prompt: model.encode(prompt) for prompt in dict.fromkeys(prompts)}
    for ids in tokens.values():
        model.check_fits(len(ids), sampling.max_tokens)
    seeds = np.random.SeedSequence(seed).generate_state(len(prompts), np.uint64) >> 1
    asked = [
        (tokens[prompt], replace(sampling, seed=int(own)))
        for prompt, own in zip(prompts, seeds, strict=True)
    ]
    parts = _parts(model, asked)
    finished = Counter[int]()

    def answered(part: int) -> list[str]:
        def done(count: int) -> None:
            finished[part] = count
            if progress is not None:
                progress(finished.total())

        return _answers(model, parts[part], slots, done)

    with ThreadPoolExecutor(len(parts)) as pool:
        return [text for texts in pool.map(answered, range(len(parts))) for text in texts]


def _parts(model: LocalModel, asked: Sequence[_Asked]) -> list[Sequence[_Asked]]:
    """Return one part for each core if the model is so small that it uses only one."""
    count = os.cpu_count() or 1 if model.phi.small and model.phi.device.type == "cpu" else 1
    size = max(LEAST, -(-len(asked) // count))
    return [asked[at : at + size] for at in range(0, len(asked), size)]


def _answers(
    model: LocalModel, asked: Sequence[_Asked], slots: int, done: Callable[[int], object]
) -> list[str]:

    length = max(len(ids) + sampling.max_tokens for ids, sampling in asked)
    batch = model.slots(min(slots, len(asked)), length=length)
    batch.prefill_among = PREFILL_TOKENS  # no answer is streamed, so a long prefill delays nobody
    texts = [""] * len(asked)
    running = {}
    started = ended = 0
    while ended < len(asked):
        while batch.free and started < len(asked):
            ids, sampling = asked[started]
            row = batch.join(ids, sampling)
            running[id(row)] = started, model.answer(sampling.max_tokens)
            started += 1
        for token in batch.step():
            place, answer = running[id(token.row)]
            texts[place] += answer.take(token).text
            if answer.ended:
                batch.leave(token.row)
                del running[id(token.row)]
                ended += 1
        done(ended)
    return texts


@dataclass(frozen=True, slots=True)
class ControlSummary:
    """Figures of the control answers.

    Attributes:
        calls, tokens: The numbers of answers and tokens of the reference precision.
        entropy: Their entropy in nats per token.
        entropy_by_prompt: The same by prompt id; near 0 an answer carries no information.
        kl: The log-likelihood of the answers of each honest precision under that precision, minus
            that under the reference, in nats per token.
        ratios: The log-likelihood of the reference's answers minus that under each candidate, in
            nats per token.
    """

    calls: int
    tokens: int
    entropy: float
    entropy_by_prompt: Mapping[str, float]
    kl: Mapping[str, float]
    ratios: Mapping[str, float]


def spread(prompts: Sequence[str], calls: int) -> list[str]:
    """Distribute a number of calls over prompts as evenly as possible."""
    return list(islice(cycle(prompts), calls))


def sample_precisions(
    loader: Loader, asked: Sequence[str], *, max_tokens: int, seed: int
) -> dict[str, list[str]]:
    """Return answers of the local weights to ``asked`` at temperature 1, by honest precision.

    Each precision has the same random numbers, so most of their answers are the same. The answers
    of one precision are then an exact control for it, the largest p-value over the precisions is
    hardly larger than each of them, and the equal answers are scored once.
    """
    sampling = Sampling(max_tokens=max_tokens, temperature=1.0)
    found = {}
    for name in loader.weights.honest:
        model = loader.load(name)
        found[name] = sample_texts(
            model,
            asked,
            sampling,
            seed=seed * 1000,
            progress=lambda done: loader.check(),
        )
    return found


def calibrated(
    own: Mapping[str, CallTable], ratios: Mapping[str, float], prompts: Sequence[str]
) -> ControlSummary:
    """Return the figures of the control answers.

    Args:
        own: The scored answers of each honest precision.
        ratios: The log-likelihood ratio of each candidate over all answers of the reference, nats.
        prompts: The ids of the prompts by their index.
    """
    reference = next(iter(own))
    calls = own[reference]
    tokens = int(calls.tokens.sum())
    by_prompt = {}
    for place in np.unique(calls.prompt):
        rows = calls.prompt == place
        by_prompt[prompts[place]] = float(calls.entropy[rows].sum() / calls.tokens[rows].sum())
    return ControlSummary(
        calls=len(calls),
        tokens=tokens,
        entropy=float(calls.entropy.sum()) / max(1, tokens),
        entropy_by_prompt=by_prompt,
        kl={name: _kl(table, name, reference) for name, table in own.items()},
        ratios={name: -value / max(1, tokens) for name, value in ratios.items()},
    )


def _kl(calls: CallTable, name: str, reference: str) -> float:
    difference = calls.logp[name] - calls.logp[reference]
    return float(difference.sum()) / max(1, int(calls.tokens.sum()))
