"""How likely several tokens are at each place of a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from phi2sdk.backends.engine.model import LocalModel
from phi2sdk.backends.engine.scoring import LOGITS_BYTES, PromptAndText, packed, packed_hidden

__all__ = ["log_probabilities"]

_COPIES = 3
"""So many arrays of the logits' size exist at once."""


def log_probabilities(
    model: LocalModel,
    sequences: Sequence[PromptAndText],
    choices: Sequence[Sequence[Sequence[int]]],
    *,
    logits_bytes: int = LOGITS_BYTES,
) -> list[NDArray[np.float64]]:
    """``[T, K]`` for each text of T tokens: log-probabilities given that the text goes on.

    Args:
        model: Under which they are scored.
        sequences: Prompt and text of each, both as tokens and neither empty.
        choices: At each place of each text its tokens; K is the most of them, and ``-inf`` stands
            where a place has fewer.
        logits_bytes: Logits and what is made of them take at most so much memory.
    """
    rows = max(1, logits_bytes // (4 * _COPIES * model.vocab_size))
    found: list[NDArray[np.float64]] = []
    for batch in packed(sequences):
        here = choices[len(found) : len(found) + len(batch)]
        places = [tokens for text in here for tokens in text]
        width = max(map(len, places))
        wanted = torch.tensor([[*tokens, *[-1] * (width - len(tokens))] for tokens in places])
        count = sum(len(prompt) + len(text) for prompt, text in batch)
        with torch.inference_mode(), model.phi.threads(count):
            hidden = packed_hidden(model.phi, batch)
            parts = []
            for at in range(0, len(hidden), rows):
                logits = model.phi.logits(hidden[at : at + rows])
                for id in model.eos_ids:
                    logits[:, id] = -torch.inf
                some = wanted[at : at + rows].to(logits.device)
                value = logits.gather(-1, some.clamp_min(0)) - logits.logsumexp(-1, keepdim=True)
                parts.append(value.masked_fill(some < 0, -torch.inf).double().cpu())
        ends = np.cumsum([len(text) for _, text in batch])
        found += np.split(torch.cat(parts).numpy(), ends[:-1])
    return found
