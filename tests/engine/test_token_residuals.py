"""Sums of tokens against their expectation."""

from __future__ import annotations

import pytest
import torch

from phi2sdk.backends.engine.token_residuals import BUCKETS, token_residuals


@pytest.mark.parametrize("vocab", [40, BUCKETS, 3 * BUCKETS + 7])
def test_a_residual_is_the_signed_sum_of_observed_minus_expected_counts(vocab: int) -> None:
    drawn = torch.Generator().manual_seed(1)
    p = torch.rand(5, vocab, generator=drawn).softmax(-1)
    wanted = torch.randint(0, vocab, (5,), generator=drawn)
    found = token_residuals(p, wanted)
    assert found.shape == (5, BUCKETS)
    whole = torch.nn.functional.one_hot(wanted, vocab) - p
    alone = token_residuals(torch.zeros(vocab, vocab), torch.arange(vocab))  # [V, BUCKETS], signs
    assert (alone.abs().sum(1) == 1).all()
    assert torch.allclose(found, whole @ alone, atol=1e-6)


def test_the_expected_residual_is_zero_and_its_length_is_kept_on_average() -> None:
    vocab = 4 * BUCKETS
    p = torch.randn(1, vocab, generator=torch.Generator().manual_seed(2)).mul(2).softmax(-1)
    every = token_residuals(p.expand(vocab, vocab), torch.arange(vocab))
    assert torch.allclose(p @ every, torch.zeros(1, BUCKETS), atol=1e-6)
    folded = (every**2).sum(1)
    exact = 1 - 2 * p[0] + (p**2).sum()
    assert float((p[0] * folded).sum()) == pytest.approx(float((p[0] * exact).sum()), rel=0.1)
