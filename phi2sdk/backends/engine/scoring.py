"""How likely a given text is, token by token: what the identity tests stand on.

Sequences lie flat behind one another in one pass, each seeing only itself. Hidden states become
logits in blocks, so that 51,200 numbers a token never exist for many tokens at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from phi2sdk.backends.engine.phi import Phi
from phi2sdk.logprobs import Score

__all__ = ["LOGITS_BYTES", "PromptAndText", "Score", "packed", "packed_hidden", "score_sequences"]

PromptAndText = tuple[Sequence[int], Sequence[int]]
"""Both as tokens, neither empty."""

LOGITS_BYTES = 64 * 2**20
"""Logits and what is made of them take at most so much at a time."""

PASS_TOKENS = 1024
"""Sequences are scored together up to so many tokens; a longer one goes alone."""


def score_sequences(
    phi: Phi,
    sequences: Iterable[PromptAndText],
    *,
    temperature: float = 1.0,
    logits_bytes: int = LOGITS_BYTES,
) -> Iterator[Score]:
    """Score texts after their prompts, in order; both as tokens, neither empty."""
    for batch in packed(sequences):
        tokens = sum(len(prompt) + len(text) for prompt, text in batch)
        with torch.inference_mode(), phi.threads(tokens):
            scores = list(_score_pass(phi, batch, temperature, logits_bytes))
        yield from scores


def packed(sequences: Iterable[PromptAndText]) -> Iterator[list[PromptAndText]]:
    """Sequences in their order, as many together as share a pass."""
    batch: list[PromptAndText] = []
    size = 0
    for prompt, text in sequences:
        count = len(prompt) + len(text)
        if batch and size + count > PASS_TOKENS:
            yield batch
            batch, size = [], 0
        batch.append((prompt, text))
        size += count
    if batch:
        yield batch


def packed_hidden(phi: Phi, batch: Sequence[PromptAndText]) -> Tensor:
    """One pass over all: hidden states ``[T, d]`` that predict the texts' T tokens, in order."""
    ids: list[int] = []
    positions: list[int] = []
    lengths: list[int] = []
    before: list[int] = []  # the tokens after which each scored one comes
    for prompt, text in batch:
        length = len(prompt) + len(text) - 1  # the last token predicts nothing that is asked
        before += range(len(ids) + len(prompt) - 1, len(ids) + length)
        ids += [*prompt, *text][:length]
        positions += range(length)
        lengths.append(length)
    device = phi.device
    hidden = phi.hidden(
        torch.tensor(ids, device=device), torch.tensor(positions, device=device), _Packed(lengths)
    )
    return hidden[torch.tensor(before, device=device)]


def _score_pass(
    phi: Phi, batch: Sequence[PromptAndText], temperature: float, logits_bytes: int
) -> Iterator[Score]:
    hidden = packed_hidden(phi, batch)
    wanted = torch.tensor([id for _, text in batch for id in text], device=phi.device)
    # The logits, their softmax and its logarithm exist at once, in float32.
    rows = max(1, logits_bytes // (4 * 4 * phi.config.shape.vocab))
    parts = [
        _statistics(phi.logits(hidden[at : at + rows]), wanted[at : at + rows], temperature)
        for at in range(0, len(wanted), rows)
    ]
    logprob, entropy, variance, argmax, likeliest, margin = (
        torch.cat(columns).tolist() for columns in zip(*parts, strict=True)
    )
    at = 0
    for _, text in batch:
        own = slice(at, at + len(text))
        yield Score(
            ids=tuple(text),
            logprob=tuple(logprob[own]),
            entropy=tuple(entropy[own]),
            variance=tuple(variance[own]),
            argmax=tuple(argmax[own]),
            best=tuple(likeliest[own]),
            margin=tuple(margin[own]),
        )
        at += len(text)


def _statistics(logits: Tensor, wanted: Tensor, temperature: float) -> tuple[Tensor, ...]:
    """``[n, V]`` and ``[n]`` -> the columns of a :class:`Score` behind ``ids``: ``[n]`` each."""
    best = logits.topk(2, -1)
    logp = (logits / temperature).log_softmax(-1)
    p = logp.exp()
    entropy = -(p * logp).sum(-1)
    variance = (p * (logp + entropy.unsqueeze(-1)).square()).sum(-1)
    return (
        logp.gather(-1, wanted.unsqueeze(-1)).squeeze(-1),
        entropy,
        variance,
        best.indices[:, 0],
        logp.gather(-1, best.indices[:, :1]).squeeze(-1),
        best.values[:, 0] - best.values[:, 1],
    )


class _Packed:
    """Sequences behind one another, each causal in itself; nothing is kept."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self._lengths = lengths

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen = []
        at = 0
        for length in self._lengths:
            own = slice(at, at + length)
            part = F.scaled_dot_product_attention(
                q[own].transpose(0, 1).unsqueeze(0),  # [1, H, length, D]
                k[own].transpose(0, 1).unsqueeze(0),
                v[own].transpose(0, 1).unsqueeze(0),
                is_causal=True,
                enable_gqa=q.shape[1] != k.shape[1],
            )
            seen.append(part[0].transpose(0, 1))
            at += length
        return torch.cat(seen).flatten(1)  # [N, H * D]
