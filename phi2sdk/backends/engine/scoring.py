"""Score given texts: the log-probability of each token, which the identity tests use.

A pass holds the tokens of several sequences in one flat tensor, and each sequence attends only to
itself. Logits are computed from the hidden states in blocks, because they take 51,200 numbers per
token.
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
"""A prompt and a text, both as tokens, neither empty."""

LOGITS_BYTES = 64 * 2**20
"""Maximum memory for logits and tensors derived from them, in bytes."""

PASS_TOKENS = 1024
"""Maximum number of tokens of the sequences in one pass; a longer sequence has its own pass."""


def score_sequences(
    phi: Phi,
    sequences: Iterable[PromptAndText],
    *,
    temperature: float = 1.0,
    logits_bytes: int = LOGITS_BYTES,
) -> Iterator[Score]:
    """Yield the score of each text after its prompt, in order."""
    for batch in packed(sequences):
        tokens = sum(len(prompt) + len(text) for prompt, text in batch)
        with torch.inference_mode(), phi.threads(tokens):
            scores = list(_score_pass(phi, batch, temperature, logits_bytes))
        yield from scores


def packed(sequences: Iterable[PromptAndText]) -> Iterator[list[PromptAndText]]:
    """Yield the sequences in order, grouped into passes."""
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
    """Return the hidden states ``[T, d]`` that predict the texts' T tokens, from one pass."""
    ids: list[int] = []
    positions: list[int] = []
    lengths: list[int] = []
    before: list[int] = []  # the token before each scored token
    for prompt, text in batch:
        length = len(prompt) + len(text) - 1  # the last token predicts no scored token
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
    # The logits, their softmax and its logarithm exist at the same time, in float32.
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
    """Return the fields of :class:`Score` after ``ids``, ``[n]`` each, for logits ``[n, V]``."""
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
    """Causal attention within each of several consecutive sequences, without a cache."""

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
