"""Many sampled answers of a model on this machine, side by side in one batch."""

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
    "ControlSummary",
    "SLOTS",
    "calibrated",
    "sample_precisions",
    "sample_texts",
    "spread",
]

SLOTS = 128
"""So many answers are written at once, where memory allows."""
LEAST = 32
"""Fewer answers than this are not shared out."""

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
    """One answer to each prompt, as an endpoint would give it: as text.

    An answer ends with the end-of-text token or after ``max_tokens``; stops are not looked for. It
    depends on ``seed`` and its place in ``prompts``, not on its neighbours (but for the last bit of
    a logit).

    Args:
        model: Who answers.
        prompts: Their texts; one as often as it is to be answered.
        sampling: How; its seed is not used.
        seed: Of the answers' seeds.
        slots: At most so many at once.
        progress: Called with the number of answers that are there.

    Raises:
        ContextLengthExceeded: A prompt and ``max_tokens`` do not fit.
        ProviderFault: The model's numbers overflowed.
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
    """One for each core where the model is so small that it keeps but one of them busy."""
    count = os.cpu_count() or 1 if model.phi.small and model.phi.device.type == "cpu" else 1
    size = max(LEAST, -(-len(asked) // count))
    return [asked[at : at + size] for at in range(0, len(asked), size)]


def _answers(
    model: LocalModel, asked: Sequence[_Asked], slots: int, done: Callable[[int], object]
) -> list[str]:

    length = max(len(ids) + sampling.max_tokens for ids, sampling in asked)
    batch = model.slots(min(slots, len(asked)), length=length)
    batch.prefill_among = PREFILL_TOKENS  # nobody here minds being held up
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
    """What the reference's own answers say.

    Attributes:
        calls, tokens: Of the reference precision's answers.
        entropy: Nats a token of them.
        entropy_by_prompt: Nats a token, by prompt id: where it is near 0 an answer tells nothing.
        kl: By honest precision, nats a token of its own answers: how much likelier it finds them
            than the reference does.
        ratios: By candidate, nats a token of the reference's answers: how much likelier the
            reference finds them than the candidate does.
    """

    calls: int
    tokens: int
    entropy: float
    entropy_by_prompt: Mapping[str, float]
    kl: Mapping[str, float]
    ratios: Mapping[str, float]


def spread(prompts: Sequence[str], calls: int) -> list[str]:
    """So many calls over prompts as evenly as can be."""
    return list(islice(cycle(prompts), calls))


def sample_precisions(
    loader: Loader, asked: Sequence[str], *, max_tokens: int, seed: int
) -> dict[str, list[str]]:
    """Answers of the local weights to ``asked`` at temperature 1, by honest precision."""
    sampling = Sampling(max_tokens=max_tokens, temperature=1.0)
    found = {}
    for number, name in enumerate(loader.weights.honest):
        model = loader.load(name)
        found[name] = sample_texts(
            model,
            asked,
            sampling,
            seed=seed * 1000 + number,
            progress=lambda done: loader.check(),
        )
    return found


def calibrated(
    own: Mapping[str, CallTable], ratios: Mapping[str, float], prompts: Sequence[str]
) -> ControlSummary:
    """The figures of the calibration.

    Args:
        own: The scored answers of each honest precision.
        ratios: Of the line-up over the reference's answers, by candidate, in nats in all.
        prompts: The prompts' ids, by their place.
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
