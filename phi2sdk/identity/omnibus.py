"""Tests for changes of any kind: the words of the texts, and the tokens against their expectation.

Neither uses a list of candidates. Both compare the mean features of the target's answers with those
of the control's: the statistic is the squared length of the target's sum of centered features. A
change that moves many features a little, as a watermark does, moves it the most.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np

from phi2sdk.identity.call_table import Floats
from phi2sdk.identity.permutation import Labels, Statistic

__all__ = ["squared_length", "word_pairs"]

COLUMNS = 2048
"""The maximum number of columns for word pairs."""
SEED = 0

_WORD = re.compile(r"\w+|[^\w\s]")


def word_pairs(texts: Sequence[str]) -> Floats:
    """Return which pairs of consecutive words each text has, rare pairs weighted, ``[n, k]``.

    A pair has the weight ``log(n / number of texts with it)``. Pairs of one text only are left out,
    because they say nothing about the other side. More than :data:`COLUMNS` pairs are summed in so
    many columns, with random signs, which keeps the inner products in expectation.
    """
    found = [sorted(set(pairwise(_WORD.findall(text.lower())))) for text in texts]
    count = Counter(chain.from_iterable(found))
    shared = [pair for pair, texts_with in count.items() if texts_with > 1]
    column = {pair: at for at, pair in enumerate(shared)}
    weight = np.log(len(texts) / np.array([count[pair] for pair in shared]))
    if len(shared) > COLUMNS:
        weight *= np.random.default_rng(SEED).choice((-1.0, 1.0), len(shared))
    values = np.zeros((len(texts), min(len(shared), COLUMNS)))
    for row, pairs in enumerate(found):
        places = [column[pair] for pair in pairs if pair in column]
        np.add.at(values[row], np.array(places, dtype=np.int64) % COLUMNS, weight[places])
    return values


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
