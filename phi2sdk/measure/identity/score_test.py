"""The score test: is the text as likely as its author would find it?

If the reference wrote a text at temperature 1, then ``log p(y_t)`` minus its own mean is a
martingale difference, and the standardised sum over all tokens is normal. A lower temperature
makes texts too likely, truncation too, another model or a higher temperature makes them not likely
enough. Small noise on the weights moves neither, so that quantisation passes: it is for the
line-up.

That holds for the tokens that were drawn; of a text that was re-encoded the p-value comes from
:mod:`phi2sdk.measure.identity.control`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.special import ndtr

from phi2sdk.measure.identity.table import CallTable

__all__ = ["ScoreTest", "score_test"]


@dataclass(frozen=True, slots=True)
class ScoreTest:
    """The score test against each honest precision.

    Attributes:
        z: By precision, standard normal if it wrote the text: above 0 the text is too likely.
        p_by_precision: Two-sided, or by permutation against control calls.
    """

    z: Mapping[str, float]
    p_by_precision: Mapping[str, float]

    @property
    def p(self) -> float:
        """Against the null that any of them wrote it."""
        return max(self.p_by_precision.values())

    @property
    def statistic(self) -> float:
        """The z of the precision that explains the text best."""
        return min(self.z.values(), key=abs)


def score_test(calls: CallTable) -> ScoreTest:
    """``Z = sum drift / sqrt(sum variance)``; texts without any entropy say nothing (p = 1)."""
    z = {}
    for name in calls.honest:
        variance = float(calls.variance[name].sum())
        z[name] = float(calls.drift[name].sum()) / math.sqrt(variance) if variance > 0 else 0.0
    return ScoreTest(z, {name: float(2 * ndtr(-abs(value))) for name, value in z.items()})
