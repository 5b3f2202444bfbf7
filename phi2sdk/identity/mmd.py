"""Test whether two sets of answers come from one distribution, from their characters alone.

The squared maximum mean discrepancy with a Hamming kernel, as Gao, Liang and Guestrin define it
("Model Equality Testing: Which Model Is This API Serving?", 2024) and their package computes it:
the similarity of two answers to one prompt is the share of positions with the same character, with
all answers padded to one width. Answers to different prompts are not compared. The
labels of the two sides are permuted within each prompt, so the p-value is exact for all prompts.
Sums of the kernel are sums of whole numbers. The kernel is computed once, and all permutations of a
prompt are one matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phi2sdk.identity.call_table import Floats, Ints
from phi2sdk.identity.permutation import PERMUTATIONS, Labels, Statistic, family

__all__ = ["MMDResult", "mmd_statistic", "mmd_test"]

PADDING = -1


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
    rows = [
        (place, own, text)
        for place, name in enumerate(shared)
        for own, texts in ((True, a[name]), (False, b[name]))
        for text in texts
    ]
    prompt = np.array([place for place, _, _ in rows], dtype=np.int64)
    target = np.array([own for _, own, _ in rows], dtype=np.bool_)
    n_a = int(target.sum())
    if not any(text for _, _, text in rows):
        return MMDResult(0.0, 1.0, len(shared), n_a, len(rows) - n_a)
    statistic = mmd_statistic([text for _, _, text in rows], target, prompt)
    found = family({"mmd": statistic}, target, prompt, permutations=permutations, seed=seed)
    observed = float(statistic(target[None].astype(np.float32))[0])
    return MMDResult(observed, found.p, len(shared), n_a, len(rows) - n_a)


def mmd_statistic(texts: Sequence[str], target: NDArray[np.bool_], prompt: Ints) -> Statistic:
    """Return the squared MMD of labeled texts.

    Args:
        texts: The texts of both sides.
        target: ``[n]``, which texts are those of the first side.
        prompt: ``[n]``, which prompt.
    """
    groups = [np.flatnonzero(prompt == one) for one in np.unique(prompt)]
    width = max(1, max(map(len, texts), default=0))
    kernels = [
        _alike([texts[row] for row in rows.tolist()], width).astype(np.float32) for rows in groups
    ]
    total = sum(float(kernel.sum(dtype=np.float64)) for kernel in kernels)
    left = np.array([np.count_nonzero(target[rows]) for rows in groups], dtype=np.float64)
    right = np.array([len(rows) for rows in groups]) - left
    pairs = (left * (left - 1)).sum(), (right * (right - 1)).sum(), (left * right).sum()
    a, b, across = (1 / (n * width) if n else 0.0 for n in pairs)

    def of(labels: Labels) -> Floats:
        within, every = np.zeros(len(labels)), np.zeros(len(labels))
        for rows, kernel in zip(groups, kernels, strict=True):
            own = labels[:, rows]
            sums = own @ kernel
            within += np.einsum("bn,bn->b", sums, own)
            every += sums.sum(axis=1)
        outside = every - within
        return a * within - 2 * across * outside + b * (total - every - outside)

    return of


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
