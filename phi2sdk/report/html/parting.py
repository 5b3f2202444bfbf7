"""How long answers stay the reference's, token by token: the curves of Kaplan and Meier (1958)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

from phi2sdk.measure.agreement import pair_up
from phi2sdk.measure.divergence import Divergence
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer

__all__ = ["parting"]


def parting(
    by_target: Mapping[str, Sequence[Record]], reference: str, tokenizer: ReferenceTokenizer
) -> dict[str, Any]:
    """By target, ``x`` (tokens in common) and ``y`` (share of prompts that did not part by then).

    Equal answers never part within their length: they are censored there. ``parted`` of
    ``prompts`` did part.
    """
    found = {}
    for name, records in by_target.items():
        if name == reference or reference not in by_target:
            continue
        pairs = pair_up(by_target[reference], records).pairs.values()
        encode = tokenizer.encode
        one = Divergence.of([[(encode(a.text), encode(b.text)) for a, b in p] for p in pairs])
        if not one.parted and not one.equal:
            continue
        censored = stats.CensoredData(uncensored=one.parted, right=one.equal)
        left = stats.ecdf(censored).sf
        found[name] = {
            "x": [float(x) for x in left.quantiles],
            "y": [float(f"{y:.5g}") for y in left.probabilities],
            "parted": len(one.parted),
            "prompts": len(one.parted) + len(one.equal),
        }
    return found
