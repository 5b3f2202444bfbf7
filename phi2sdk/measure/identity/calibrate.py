"""What the local weights answer in each honest precision: the yardstick of every verdict.

The same prompts, the same sampling and the same way through text and back to tokens as the
targets' answers, so that whatever that way costs is in the yardstick too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from phi2sdk.measure.identity.sample import sample_texts
from phi2sdk.measure.identity.table import CallTable
from phi2sdk.measure.identity.weights import Loader
from phi2sdk.sampling import Sampling

__all__ = ["Calibration", "calibrated", "sample_precisions", "spread"]


@dataclass(frozen=True, slots=True)
class Calibration:
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
) -> Calibration:
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
    return Calibration(
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
