"""Many sampled answers of a model on this machine, side by side in one batch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from phi2sdk.memory import PREFILL_TOKENS
from phi2sdk.sampling import Sampling

if TYPE_CHECKING:
    from phi2sdk.backends.engine import LocalModel

__all__ = ["SLOTS", "sample_texts"]

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
    from phi2sdk.backends.engine.answer import Answer

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
            running[id(row)] = started, Answer(model, sampling.max_tokens)
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
