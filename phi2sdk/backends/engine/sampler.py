"""The next token from the logits, for many rows at once.

In this order: repetition penalty, temperature, top_k, top_p, min_p; then one draw. A draw is the
argmax of the logits plus Gumbel noise (which is a draw from their softmax), and the noise is a hash
of (seed, step, token): a row's tokens depend on its own seed, whatever its neighbours do.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from phi2sdk.sampling import Sampling

__all__ = ["Chooser", "choose", "gumbel", "shaped"]


@dataclass(slots=True)
class Chooser:
    """One request's way to choose, and what it remembers.

    Attributes:
        sampling: Its parameters.
        seed: Its seed; fresh entropy where the sampling has none.
        step: How many tokens it has chosen.
        seen: ``[V]`` which tokens stand in prompt or answer; only with a repetition penalty.
    """

    sampling: Sampling
    seed: int = field(default=-1)
    step: int = 0
    seen: Tensor | None = None

    @classmethod
    def start(
        cls, sampling: Sampling, prompt: Sequence[int], vocab_size: int, device: torch.device
    ) -> Chooser:
        """For a request that has chosen nothing yet."""
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        chooser = cls(sampling, seed)
        if sampling.repetition_penalty != 1:
            chooser.seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
            chooser.seen[torch.tensor(prompt, device=device)] = True
        return chooser


def choose(logits: Tensor, rows: Sequence[Chooser]) -> tuple[Tensor, Tensor]:
    """One token for each row.

    Args:
        logits: ``[n, V]`` float32.
        rows: Their choosers; each moves on by one step.

    Returns:
        Tokens ``[n]``, and their log-probabilities ``[n]`` under the model itself: softmax of the
        logits at temperature 1, before penalty and truncation.
    """
    total = logits.logsumexp(-1)
    own = logits
    if any(row.seen is not None for row in rows):
        own = logits.clone()
        for index, row in enumerate(rows):
            if row.seen is not None:
                _penalise(own[index], row.seen, row.sampling.repetition_penalty)
    drawn = [index for index, row in enumerate(rows) if not row.sampling.greedy]
    if not drawn:  # no row at all where a step only reads prompts
        tokens = own.argmax(-1)
    elif len(drawn) == len(rows):
        tokens = _draw(own, rows)
    else:
        tokens = own.argmax(-1)
        tokens[drawn] = _draw(own[drawn], [rows[index] for index in drawn])
    for index, row in enumerate(rows):
        row.step += 1
        if row.seen is not None:
            row.seen[tokens[index]] = True
    return tokens, logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - total


def _penalise(logits: Tensor, seen: Tensor, penalty: float) -> None:
    scaled = torch.where(logits > 0, logits / penalty, logits * penalty)
    torch.where(seen, scaled, logits, out=logits)


def _draw(logits: Tensor, rows: Sequence[Chooser]) -> Tensor:
    x = shaped(logits, [row.sampling for row in rows])
    return (x + gumbel([(row.seed, row.step) for row in rows], x)).argmax(-1)


def shaped(logits: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """``[n, V]`` logits of what is drawn from: with temperature and truncations, a sampling a row.

    Temperatures are above 0; a repetition penalty is not applied. Cut tokens are ``-inf``.
    """
    x = logits / _column([s.temperature for s in samplings], logits)
    if any(s.top_k is not None for s in samplings):
        x = _top_k(x, [s.top_k or x.shape[-1] for s in samplings])
    if any(s.top_p < 1 for s in samplings):
        x = _top_p(x, [s.top_p for s in samplings])
    if any(s.min_p > 0 for s in samplings):
        floor = _column([math.log(s.min_p) if s.min_p else -math.inf for s in samplings], x)
        x = x.masked_fill(x < x.amax(-1, keepdim=True) + floor, -math.inf)
    return x


def _top_k(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Keep each row's ``k`` largest, with those equal to the smallest of them."""
    vocab = x.shape[-1]
    limited = [min(k, vocab) for k in sizes]
    widest = max((k for k in limited if k < vocab), default=0)
    if not widest:
        return x
    largest = x.topk(widest, -1).values  # [n, widest]
    at = torch.tensor([min(k, widest) - 1 for k in limited], device=x.device).unsqueeze(-1)
    least = largest.gather(-1, at)
    off = torch.tensor([[k >= vocab] for k in limited], device=x.device)
    return x.masked_fill((x < least) & ~off, -math.inf)


_NARROW = 256


def _top_p(x: Tensor, shares: Sequence[float]) -> Tensor:
    """Keep each row's smallest set with at least its share, with those equal to the last of it."""
    p = x.softmax(-1)
    share = _column(shares, x)
    # Sorting 51,200 numbers a row is slow on a CPU: the few largest mostly hold the share.
    width = min(_NARROW, x.shape[-1]) if x.device.type == "cpu" else x.shape[-1]
    ranked = p.topk(width, -1).values
    if width < x.shape[-1] and bool((ranked.sum(-1, keepdim=True) < share).any()):
        ranked = p.sort(-1, descending=True).values
    before = ranked.cumsum(-1) - ranked  # the mass above each
    least = ranked.masked_fill(before >= share, math.inf).amin(-1, keepdim=True)
    return x.masked_fill((p < least) & (share < 1), -math.inf)


def gumbel(keys: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """Standard Gumbel noise ``[n, V]``, a hash of (seed, step) of the row and the token's number.

    The mixing is MurmurHash3's 32-bit finaliser with two keys a row; a minimum of 2**-33 on the
    uniforms cuts the noise off beyond 22.9, a tail of 1e-10.
    """
    mixed = [_mix(seed, step) for seed, step in keys]
    first = torch.tensor([[m & _MASK] for m in mixed], device=like.device)
    second = torch.tensor([[m >> 32] for m in mixed], device=like.device)
    h = torch.arange(like.shape[-1], device=like.device) * 0x9E3779B1 + first
    h &= _MASK
    h ^= h >> 16
    h = (h * 0x85EBCA6B & _MASK) ^ second
    h ^= h >> 13
    h = h * 0xC2B2AE35 & _MASK
    h ^= h >> 16
    uniform = (h.to(torch.float32) + 0.5) * 2.0**-32
    uniform.clamp_(max=1 - 2.0**-24)
    return -torch.log(-torch.log1p(-uniform))


_MASK = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF


def _mix(seed: int, step: int) -> int:
    """64 well-mixed bits of (seed, step): SplitMix64's output function, applied twice."""
    z = _splitmix(seed) + step * 0x9E3779B97F4A7C15
    return _splitmix(z & _MASK64)


def _splitmix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) & _MASK64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK64
    return z ^ (z >> 31)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(-1)
