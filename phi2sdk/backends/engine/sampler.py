"""Choose the next token of many rows from their logits.

The steps are, in this order: repetition penalty, temperature, top_k, top_p, min_p, and one draw.
The draw is the argmax of the logits plus Gumbel noise, which is a sample from their softmax. The
noise is a hash of (seed, step, token), so that the tokens of a row depend only on its seed and not
on other rows.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from phi2sdk.backends.engine.transfer import to_device
from phi2sdk.sampling import Sampling

__all__ = ["Chooser", "choose", "gumbel", "shaped"]


@dataclass(slots=True)
class Chooser:
    """The sampling state of one request.

    Attributes:
        sampling: The sampling parameters.
        seed: The seed of ``sampling``, or a random one if it has none.
        step: Number of tokens that have been chosen.
        seen: ``[V]`` whether a token occurs in prompt or answer; only with a repetition penalty.
    """

    sampling: Sampling
    seed: int = field(default=-1)
    step: int = 0
    seen: Tensor | None = None

    @classmethod
    def start(
        cls, sampling: Sampling, prompt: Sequence[int], vocab_size: int, device: torch.device
    ) -> Chooser:
        """Return the state of a request before its first token."""
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        chooser = cls(sampling, seed)
        if sampling.repetition_penalty != 1:
            chooser.seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
            chooser.seen[to_device(prompt, device)] = True
        return chooser


def choose(logits: Tensor, rows: Sequence[Chooser]) -> tuple[Tensor, Tensor]:
    """Choose one token for each row.

    Args:
        logits: ``[n, V]`` float32.
        rows: The sampling states of the rows; each is advanced by one step.

    Returns:
        Tokens ``[n]``, and their log-probabilities ``[n]`` under the model: the softmax of the
        logits at temperature 1, before penalty and truncation.
    """
    total = logits.logsumexp(-1)
    own = logits
    if any(row.seen is not None for row in rows):
        own = logits.clone()
        for index, row in enumerate(rows):
            if row.seen is not None:
                _penalize(own[index], row.seen, row.sampling.repetition_penalty)
    drawn = [index for index, row in enumerate(rows) if not row.sampling.greedy]
    if not drawn:  # in a step that only processes prompts, there is no row
        tokens = own.argmax(-1)
    elif len(drawn) == len(rows):
        tokens = _draw(own, rows)
    else:
        tokens = own.argmax(-1)
        at = to_device(drawn, own.device)
        tokens[at] = _draw(own[at], [rows[index] for index in drawn])
    for index, row in enumerate(rows):
        row.step += 1
        if row.seen is not None:
            row.seen.scatter_(0, tokens[index : index + 1], True)
    return tokens, logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - total


def _penalize(logits: Tensor, seen: Tensor, penalty: float) -> None:
    scaled = torch.where(logits > 0, logits / penalty, logits * penalty)
    torch.where(seen, scaled, logits, out=logits)


def _draw(logits: Tensor, rows: Sequence[Chooser]) -> Tensor:
    x = shaped(logits, [row.sampling for row in rows])
    return (x + gumbel([(row.seed, row.step) for row in rows], x)).argmax(-1)


def shaped(logits: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """Return logits ``[n, V]`` after temperature and truncation, with one sampling per row.

    Temperatures must be greater than 0. The repetition penalty is not applied. Excluded tokens
    have the logit ``-inf``.
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
    """Keep the ``k`` largest logits of each row, and logits equal to the smallest of these."""
    vocab = x.shape[-1]
    limited = [min(k, vocab) for k in sizes]
    widest = max((k for k in limited if k < vocab), default=0)
    if not widest:
        return x
    largest = x.topk(widest, -1).values  # [n, widest]
    at = to_device([[min(k, widest) - 1] for k in limited], x.device)
    least = largest.gather(-1, at)
    off = to_device([[k >= vocab] for k in limited], x.device, torch.bool)
    return x.masked_fill((x < least) & ~off, -math.inf)


_NARROW = 256


def _top_p(x: Tensor, shares: Sequence[float]) -> Tensor:
    """Keep the smallest set of tokens with at least the row's share, and ties with its last."""
    p = x.softmax(-1)
    share = _column(shares, x)
    # Sorting 51,200 numbers per row is slow on a CPU, and the few largest usually suffice.
    width = min(_NARROW, x.shape[-1]) if x.device.type == "cpu" else x.shape[-1]
    ranked = p.topk(width, -1).values
    if width < x.shape[-1] and bool((ranked.sum(-1, keepdim=True) < share).any()):
        ranked = p.sort(-1, descending=True).values
    before = ranked.cumsum(-1) - ranked  # the mass of the tokens ranked above
    least = ranked.masked_fill(before >= share, math.inf).amin(-1, keepdim=True)
    return x.masked_fill((p < least) & (share < 1), -math.inf)


def gumbel(keys: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """Return standard Gumbel noise ``[n, V]``, a hash of the row's (seed, step) and the token id.

    The hash is the 32-bit finalizer of MurmurHash3 with two keys per row. The uniform numbers are
    at least 2**-33, which limits the noise to 22.9 and removes a tail of probability 1e-10.
    """
    mixed = [_mix(seed, step) for seed, step in keys]
    halves = [(_signed(m & _MASK), _signed(m >> 32)) for m in mixed]
    first, second = to_device(halves, like.device, torch.int32).unsqueeze(-1).unbind(1)  # [n, 1]
    # Products of int32 wrap around, and int64 takes eight times as long. A shift to the right
    # copies the sign, which is masked.
    h = torch.arange(like.shape[-1], dtype=torch.int32, device=like.device)
    h = h.mul_(_signed(0x9E3779B1)) + first
    h ^= (h >> 16) & 0xFFFF
    h *= _signed(0x85EBCA6B)
    h ^= second
    h ^= (h >> 13) & 0x7FFFF
    h *= _signed(0xC2B2AE35)
    h ^= (h >> 16) & 0xFFFF
    high, low = (h >> 16) & 0xFFFF, h & 0xFFFF
    uniform = high.float().mul_(2.0**16).add_(low.float())  # as unsigned, rounded once
    uniform.add_(0.5).mul_(2.0**-32).clamp_(max=1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_().log_().neg_()


def _signed(value: int) -> int:
    """Return the 32 bits of a number as a signed one."""
    return value - 2**32 if value >= 2**31 else value


_MASK = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF


def _mix(seed: int, step: int) -> int:
    """Return a 64-bit hash of (seed, step): the output function of SplitMix64, applied twice."""
    z = _splitmix(seed) + step * 0x9E3779B97F4A7C15
    return _splitmix(z & _MASK64)


def _splitmix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) & _MASK64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK64
    return z ^ (z >> 31)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return to_device([[value] for value in values], like.device, like.dtype)
