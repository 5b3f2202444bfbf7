"""Many sampled answers of a model on this machine, side by side in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    from phi2sdk.backends.engine.answer import Answer

    if not prompts:
        return []
    tokens = {prompt: model.encode(prompt) for prompt in dict.fromkeys(prompts)}
    longest = max(map(len, tokens.values()))
    for ids in tokens.values():
        model.check_fits(len(ids), sampling.max_tokens)
    batch = model.slots(min(slots, len(prompts)), length=longest + sampling.max_tokens)
    batch.prefill_among = PREFILL_TOKENS  # nobody here minds being held up
    seeds = np.random.SeedSequence(seed).generate_state(len(prompts), np.uint64) >> 1
    texts = [""] * len(prompts)
    running = {}
    started = done = 0
    while done < len(prompts):
        while batch.free and started < len(prompts):
            own = replace(sampling, seed=int(seeds[started]))
            row = batch.join(tokens[prompts[started]], own)
            running[id(row)] = started, Answer(model, sampling.max_tokens)
            started += 1
        for token in batch.step():
            place, answer = running[id(token.row)]
            texts[place] += answer.take(token).text
            if answer.ended:
                batch.leave(token.row)
                del running[id(token.row)]
                done += 1
        if progress is not None:
            progress(done)
    return texts
