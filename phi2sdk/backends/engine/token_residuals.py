"""Count tokens against their expectation, in few numbers for a vocabulary of any size."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["BUCKETS", "token_residuals"]

BUCKETS = 512
"""Number of signed sums over the vocabulary. With 1,024 a watermark is found hardly more often."""
SEED = 0


def token_residuals(p: Tensor, wanted: Tensor) -> Tensor:
    """Return the observed minus the expected count of each token, ``[m, BUCKETS]``.

    A bucket is the sum over the tokens whose id has the same remainder, each with a random sign, so
    that sums and inner products of residuals are those over the vocabulary in expectation.

    Args:
        p: ``[m, V]`` the probabilities of the next token.
        wanted: ``[m]`` the tokens that follow.
    """
    signs = _signs(p.shape[-1]).to(p.device)
    rest = -p.shape[-1] % BUCKETS
    expected = F.pad(p * signs, (0, rest)).view(len(p), -1, BUCKETS).sum(1)
    return expected.neg_().scatter_add_(
        1, (wanted % BUCKETS).unsqueeze(-1), signs[wanted].unsqueeze(-1)
    )


@lru_cache(maxsize=8)
def _signs(vocab: int) -> Tensor:
    drawn = torch.randint(0, 2, (vocab,), generator=torch.Generator().manual_seed(SEED))
    return drawn.float().mul_(2).sub_(1)
