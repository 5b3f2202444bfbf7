"""Tests for changes of any kind: the words of the texts, and the tokens against their expectation.

Neither uses a list of candidates. Both compare the mean features of the target's answers with those
of the control's: the statistic is the squared length of the target's sum of centered features. A
change that moves many features a little, as a watermark does, moves it the most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from phi2sdk.identity.call_table import Floats
from phi2sdk.identity.permutation import Labels, Statistic

__all__ = ["squared_length", "word_pairs"]

_WORD = re.compile(r"\w+|[^\w\s]")


def word_pairs(texts: Sequence[str]) -> Floats:
    """Return which pairs of consecutive words each text has, ``[n, pairs]``, rare pairs weighted.

    A pair has the weight ``log(n / number of texts with it)``. Pairs of one text only are left out,
    because they say nothing about the other side.
    """
    found = []
    for text in texts:
        words = _WORD.findall(text.lower())
        found.append(set(pairwise(words)))
    column: dict[tuple[str, str], int] = {}
    for pairs in found:
        for pair in sorted(pairs):
            column.setdefault(pair, len(column))
    has = np.zeros((len(texts), len(column)))
    for row, pairs in enumerate(found):
        has[row, [column[pair] for pair in pairs]] = 1.0
    count = has.sum(axis=0)
    shared = count > 1
    return np.asarray(has[:, shared] * np.log(len(texts) / count[shared]))


def squared_length(values: Floats) -> Statistic:
    """Return the statistic that is the squared length of the sum over the target's calls.

    Args:
        values: ``[n, k]``, features of each call, with mean 0 in each prompt.
    """
    n, k = values.shape
    columns = values.astype(np.float32)
    if k <= n:
        return lambda labels: _inner(sums := labels @ columns, sums)
    products = columns @ columns.T
    return lambda labels: _inner(labels @ products, labels)


def _inner(a: Labels, b: Labels) -> Floats:
    return np.asarray(np.einsum("bn,bn->b", a, b), dtype=np.float64)
