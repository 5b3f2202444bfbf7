"""Test whether two sets of answers come from one distribution, from their characters alone.

The squared maximum mean discrepancy with a Hamming kernel, as Gao, Liang and Guestrin define it
("Model Equality Testing: Which Model Is This API Serving?", 2024) and their package computes it:
the similarity of two answers to one prompt is the share of positions with the same character, with
all answers padded to one width. Answers to different prompts are not compared. The
labels of the two sides are permuted within each prompt, so the p-value is exact for all prompts.
Sums of the kernel are sums of whole numbers and therefore exact. The kernel is computed once, and
all permutations of a prompt are one matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PERMUTATIONS", "MMDResult", "mmd_test"]

PERMUTATIONS = 9_999
PADDING = -1
BLOCK = 2**22
"""The maximum number of labels in memory at a time."""
TIE = 1e-12
"""Statistics that differ by less are equal up to rounding, and count as a tie."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MMDResult:
    """The result of the test.

    Attributes:
        statistic: The squared MMD, estimated without the similarity of an answer to itself; about 0
            if the sides do not differ, at most 2. A side without two answers to any prompt has no
            similarity within it, and that term is left out.
        p: ``(1 + #{T_b >= T}) / (b + 1)`` over ``b`` permutations; 1 if nothing was compared.
        prompts: The number of prompts with an answer from both sides; the others are left out.
        n_a, n_b: The numbers of answers to those prompts.
    """

    statistic: float
    p: float
    prompts: int
    n_a: int
    n_b: int


def mmd_test(
    a: Mapping[str, Sequence[str]],
    b: Mapping[str, Sequence[str]],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> MMDResult:
    """Test whether the answers of ``a`` and ``b`` have the same distribution.

    Args:
        a: The answers of one side by prompt, in any order.
        b: The answers of the other side.
        permutations: The number of permutations; the smallest p is ``1 / (permutations + 1)``.
        seed: The seed of the permutations.

    Raises:
        ValueError: The number of permutations is below 1.
    """
    if permutations < 1:
        raise ValueError(f"at least one permutation is needed, not {permutations}")
    shared = sorted(prompt for prompt in a if a[prompt] and b.get(prompt))
    sizes = np.array([(len(a[p]), len(b[p])) for p in shared], dtype=np.int64).reshape(-1, 2)
    n_a, n_b = (int(n) for n in sizes.sum(axis=0))
    width = max((len(text) for p in shared for text in (*a[p], *b[p])), default=0)
    if width == 0:
        return MMDResult(0.0, 1.0, len(shared), n_a, n_b)
    weights = _Weights.of(sizes, width)
    rng = np.random.default_rng(seed)
    own, both = 0, 0  # over the observed labels
    within, across = np.zeros(permutations), np.zeros(permutations)
    total = 0
    for prompt, (left, _) in zip(shared, sizes, strict=True):
        kernel = _alike([*a[prompt], *b[prompt]], width)
        rows = kernel.sum(axis=1)
        total += int(rows.sum())
        own += int(kernel[:left, :left].sum())
        both += int(rows[:left].sum())
        _permuted(kernel, rows, int(left), rng, within, across)
    observed = weights.statistic(np.array([own], np.float64), np.array([both], np.float64), total)
    statistic = float(observed[0])
    drawn = weights.statistic(within, across, total)
    p = (1 + int(np.count_nonzero(drawn >= statistic - TIE))) / (permutations + 1)
    return MMDResult(statistic, p, len(shared), n_a, n_b)


@dataclass(frozen=True, slots=True)
class _Weights:
    """The inverse of the number of ordered pairs within a, within b, and across."""

    a: float
    b: float
    across: float

    @staticmethod
    def of(sizes: Ints, width: int) -> _Weights:
        left, right = sizes[:, 0], sizes[:, 1]
        pairs = (left * (left - 1)).sum(), (right * (right - 1)).sum(), (left * right).sum()
        return _Weights(*(1 / (int(n) * width) if n else 0.0 for n in pairs))

    def statistic(self, within_a: Floats, rows_a: Floats, total: int) -> Floats:
        """Return the statistic from sums of the kernel: within a, in the rows of a, in total."""
        across = rows_a - within_a
        within_b = total - rows_a - across
        return self.a * within_a - 2 * self.across * across + self.b * within_b


def _alike(texts: Sequence[str], width: int) -> Ints:
    """Return the numbers of equal characters, ``[n, n]``, with padding; 0 on the diagonal."""
    own = max(map(len, texts))
    characters = np.full((len(texts), own), PADDING, dtype=np.int32)
    for row, text in enumerate(texts):
        found = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<i4")
        characters[row, : len(found)] = found
    kernel = np.zeros((len(texts), len(texts)), dtype=np.int64)
    for row in range(1, len(texts)):
        equal = np.count_nonzero(characters[:row] == characters[row], axis=1)
        kernel[row, :row] = kernel[:row, row] = equal + (width - own)
    return kernel


def _permuted(
    kernel: Ints, rows: Ints, left: int, rng: np.random.Generator, within: Floats, across: Floats
) -> None:
    """Add the sums of a prompt to those of each permutation: within a, and over the rows of a."""
    n = len(rows)
    matrix, sums = kernel.astype(np.float64), rows.astype(np.float64)
    labels = (np.arange(n) < left).astype(np.float64)
    block = max(1, BLOCK // n)
    for start in range(0, len(within), block):
        stop = min(start + block, len(within))
        drawn = rng.permuted(np.tile(labels, (stop - start, 1)), axis=1)  # [b, n]
        within[start:stop] += np.einsum("bn,bn->b", drawn @ matrix, drawn)
        across[start:stop] += drawn @ sums
