"""The log-likelihood of tokens under other sampling parameters, from the logits of one pass.

Every function gets the logits of m positions ``[m, V]`` without end-of-text (a very low logit), the
logarithm of their total ``[m]``, and the wanted tokens. It returns a column ``[m]`` for each
parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "BETA_STEP",
    "EPSILON",
    "COPIES",
    "Seen",
    "Truncation",
    "at_token",
    "penalized",
    "tempered",
    "truncated",
]

COPIES = 6
"""Number of tensors of the size of the logits that exist at the same time, without the logits."""
EPSILON = 0.01
"""Share of the full distribution that is mixed into a truncated candidate, so that a single token
outside of the truncated set does not rule the candidate out."""
BETA_STEP = 0.025
"""Inverse temperatures are multiples of this, so that a power is a product of powers."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """A sampler that excludes unlikely tokens by ``top_k``, ``top_p`` or ``min_p``."""

    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None


def at_token(values: Tensor, wanted: Tensor) -> Tensor:
    """Return ``[m]`` the values of the wanted tokens, from ``[m, V]``."""
    return values.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)


def tempered(logp: Tensor, own: Tensor, betas: Sequence[float]) -> Iterator[Tensor]:
    """Yield the log-likelihood at each inverse temperature.

    An exponential function takes eight times as long as a product, so only ``p ** BETA_STEP`` is
    one: the powers of p are products of it.

    Args:
        logp: ``[m, V]`` log-probabilities, which are overwritten.
        own: ``[m]`` those of the wanted tokens.
        betas: Ascending multiples of :data:`BETA_STEP`.
    """
    if not betas:
        return
    steps = [round(beta / BETA_STEP) for beta in betas]
    gaps = [after - before for before, after in zip([0, *steps], steps, strict=False)]
    if min(gaps) < 0 or any(
        not math.isclose(step * BETA_STEP, beta) for step, beta in zip(steps, betas, strict=True)
    ):
        raise ValueError(f"inverse temperatures are ascending multiples of {BETA_STEP}: {betas}")
    # The first gap is the largest: the power is built from squares, of which later gaps use few.
    power = logp.mul(betas[0]).exp_()
    squares = [logp.mul_(BETA_STEP).exp_()]  # p ** (BETA_STEP * 2 ** index)
    while 2 ** len(squares) <= max(gaps[1:], default=0):
        squares.append(squares[-1].square())
    for beta, gap in zip(betas, [0, *gaps[1:]], strict=True):
        for index, square in enumerate(squares):
            if gap >> index & 1:
                power.mul_(square)
        yield beta * own - power.sum(-1).log()


class Seen(NamedTuple):
    """The distinct tokens before each of m positions, in its prompt and its text.

    Attributes:
        ids: ``[m, S]``; where there are fewer, one that occurs is repeated.
        mask: ``[m, S]`` which of them count.
    """

    ids: Tensor
    mask: Tensor


def penalized(
    logits: Tensor, p: Tensor, total: Tensor, wanted: Tensor, seen: Seen, penalties: Sequence[float]
) -> Iterator[Tensor]:
    """Yield the log-likelihood at each repetition penalty, as the sampler applies it.

    Args:
        logits: ``[m, V]``.
        p: ``[m, V]`` their probabilities, which are overwritten.
        total: ``[m]``.
        wanted: ``[m]``.
        seen: The tokens that are penalized.
        penalties: The penalties.
    """
    if not penalties:
        return
    rest = p.scatter_(-1, seen.ids, 0).sum(-1, keepdim=True).log()  # of tokens not seen
    own = at_token(logits, wanted)
    again = ((seen.ids == wanted.unsqueeze(-1)) & seen.mask).any(-1)
    repeated = logits.gather(-1, seen.ids)
    for penalty in penalties:
        changed = _lowered(repeated, penalty) - total.unsqueeze(-1)
        changed = torch.cat((rest, changed.masked_fill(~seen.mask, -torch.inf)), -1)
        yield torch.where(again, _lowered(own, penalty), own) - total - changed.logsumexp(-1)


def _lowered(logits: Tensor, penalty: float) -> Tensor:
    return torch.where(logits > 0, logits / penalty, logits * penalty)


def truncated(
    logits: Tensor,
    ending: Tensor,
    total: Tensor,
    wanted: Tensor,
    cuts: Sequence[Truncation],
) -> list[Tensor]:
    """Return the log-likelihood for each truncation, mixed with :data:`EPSILON`.

    A sampler does not exclude end-of-text, so the set of tokens that it keeps is that of the full
    distribution; it includes ties with the last token.

    Args:
        logits: ``[m, V]``.
        ending: ``[m, E]`` the logits of the tokens that end a text.
        total: ``[m]``.
        wanted: ``[m]``.
        cuts: The truncations.
    """
    if not cuts:
        return []
    kept = _Kept.of(logits, ending, total, cuts)
    own = at_token(logits, wanted)
    share = (own >= kept.least) / kept.mass.clamp_min(1e-30)
    mixed = (EPSILON + (1 - EPSILON) * share).log().to(own.dtype)
    return list(own - total + mixed)


class _Kept(NamedTuple):
    """The tokens that C truncations keep at m positions.

    Attributes:
        least: ``[C, m]`` the smallest logit.
        mass: ``[C, m]`` the probability of the tokens without end-of-text, in float64.
    """

    least: Tensor
    mass: Tensor

    @classmethod
    def of(cls, logits: Tensor, ending: Tensor, total: Tensor, cuts: Sequence[Truncation]) -> _Kept:
        """Determine the sets."""
        ascending = _sorted(torch.cat((logits, ending), -1))
        ranked = ascending.flip(-1)
        base = total.unsqueeze(-1)
        summed = (ranked - base).exp_().cumsum(-1, dtype=torch.float64)
        ends = (ending - base).exp()
        share = summed / (1 + ends.sum(-1, keepdim=True))
        least = torch.cat([_least(cut, ranked, share) for cut in cuts], -1)  # [m, C]
        sizes = ranked.shape[-1] - torch.searchsorted(ascending, least)
        ended = (ends.unsqueeze(-1) * (ending.unsqueeze(-1) >= least.unsqueeze(1))).sum(1)
        mass = summed.gather(-1, sizes - 1) - ended
        return cls(least.T, mass.T)


def _sorted(values: Tensor) -> Tensor:
    if values.device.type != "cpu":
        return values.sort(-1).values
    return torch.from_numpy(np.sort(values.numpy(), axis=-1))  # 30 times faster than torch's


def _least(cut: Truncation, ranked: Tensor, share: Tensor) -> Tensor:
    """Return ``[m, 1]`` the smallest logit that a truncation keeps."""
    least = torch.full_like(ranked[:, :1], -torch.inf)
    last = ranked.shape[-1] - 1
    if cut.top_k is not None:
        least = ranked[:, [min(cut.top_k - 1, last)]]
    if cut.top_p is not None:
        wanted = torch.full_like(share[:, :1], cut.top_p)
        at = torch.searchsorted(share, wanted).clamp_max(last)
        least = torch.maximum(least, ranked.gather(-1, at))
    if cut.min_p is not None:
        least = torch.maximum(least, ranked[:, :1] + math.log(cut.min_p))
    return least
