"""Score given texts: the log-probability of each token, which the identity tests use.

A pass holds the tokens of several sequences in one flat tensor, and each sequence attends only to
itself. Tokens with which a sequence begins as the one before it are in the tensor once, so it is
fast to score several answers to a prompt one after another. Logits are computed from the hidden
states in blocks, because they take 51,200 numbers per token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Any, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from phi2sdk.backends.engine.phi import Phi
from phi2sdk.logprobs import RankedToken, Score

__all__ = [
    "LOGITS_BYTES",
    "Pass",
    "PromptAndText",
    "Score",
    "likelihoods",
    "packed",
    "packed_hidden",
    "rank",
    "score_sequences",
    "side_by_side",
]

_Result = TypeVar("_Result")

PromptAndText = tuple[Sequence[int], Sequence[int]]
"""A prompt and a text, both as tokens, neither empty."""

LOGITS_BYTES = 64 * 2**20
"""Maximum memory for logits and tensors derived from them, in bytes."""

_ROWS = 64
"""Tokens whose logits are computed at a time: more would not fit into the processor's cache."""
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


def likelihoods(phi: Phi, sequences: Iterable[PromptAndText]) -> Iterator[tuple[float, bool]]:
    """Yield the log-likelihood of each text after its prompt, in order, and less work than scores.

    The second value is whether every token of the text is the most likely one.
    """

    def one_pass(batch: Sequence[PromptAndText]) -> list[tuple[float, bool]]:
        tokens = sum(len(prompt) + len(text) for prompt, text in batch)
        wanted = torch.tensor([id for _, text in batch for id in text], device=phi.device)
        logprobs, greedy = [], []
        with torch.inference_mode(), phi.threads(tokens):
            hidden = packed_hidden(phi, batch)
            for at in range(0, len(wanted), _ROWS):
                logits, own = phi.logits(hidden[at : at + _ROWS]), wanted[at : at + _ROWS]
                found = logits.gather(-1, own.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
                logprobs += found.tolist()
                greedy += (logits.argmax(-1) == own).tolist()
        ends = [*accumulate((len(text) for _, text in batch), initial=0)]
        return [(sum(logprobs[at:end]), all(greedy[at:end])) for at, end in pairwise(ends)]

    yield from chain.from_iterable(side_by_side(phi, one_pass, packed(sequences)))


def side_by_side(
    phi: Phi, one_pass: Callable[..., _Result], *batches: Iterable[Any]
) -> list[_Result]:
    """Return the results of several passes, on all cores where one pass uses only one."""
    count = torch.get_num_threads() if phi.small and phi.device.type == "cpu" else 1
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one_pass, *batches))


def rank(
    phi: Phi, ids: Sequence[int], top: int, *, logits_bytes: int = LOGITS_BYTES
) -> list[RankedToken]:
    """Return each token of a text with the ``top`` most likely tokens at its position."""
    if len(ids) == 1:
        return [RankedToken(ids[0], None)]
    rows = max(1, logits_bytes // (4 * 4 * phi.config.shape.vocab))
    with torch.inference_mode(), phi.threads(len(ids)):
        hidden = packed_hidden(phi, [(ids[:1], ids[1:])])
        wanted = torch.tensor(ids[1:], device=phi.device)
        own: list[float] = []
        best: list[list[int]] = []
        values: list[list[float]] = []
        for at in range(0, len(wanted), rows):
            logp = phi.logits(hidden[at : at + rows]).log_softmax(-1)
            own += logp.gather(-1, wanted[at : at + rows].unsqueeze(-1)).squeeze(-1).tolist()
            most = logp.topk(top, -1)
            best += most.indices.tolist()
            values += most.values.tolist()
    ranked = [
        RankedToken(id, logprob, tuple(zip(best_ids, logprobs, strict=True)))
        for id, logprob, best_ids, logprobs in zip(ids[1:], own, best, values, strict=True)
    ]
    return [RankedToken(ids[0], None), *ranked]


def packed(sequences: Iterable[PromptAndText]) -> Iterator[list[PromptAndText]]:
    """Yield the sequences in order, grouped into passes."""
    batch: list[PromptAndText] = []
    size = 0
    for prompt, text in sequences:
        count = len(prompt) + len(text)
        shared = _shared(batch[-1], (prompt, text)) if batch else 0
        if batch and size + count - shared > PASS_TOKENS:
            yield batch
            batch, size, shared = [], 0, 0
        batch.append((prompt, text))
        size += count - shared
    if batch:
        yield batch


def _shared(one: PromptAndText, other: PromptAndText) -> int:
    """Return the number of tokens with which both sequences begin."""
    count = 0
    for a, b in zip(chain(*one), chain(*other), strict=False):
        if a != b:
            break
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class Pass:
    """The tokens of several sequences in one flat tensor, in which shared beginnings occur once.

    Attributes:
        ids: The tokens.
        positions: The position of each token in its sequences.
        before: For each token of the texts, the place in ``ids`` of the token before it.
        rows: For each sequence, the places of its tokens, and how many of them are of a sequence
            before it.
    """

    ids: Sequence[int]
    positions: Sequence[int]
    before: Sequence[int]
    rows: Sequence[tuple[Sequence[int], int]]

    @classmethod
    def of(cls, batch: Sequence[PromptAndText]) -> Pass:
        """Return the pass of a batch."""
        ids: list[int] = []
        positions: list[int] = []
        before: list[int] = []
        rows: list[tuple[list[int], int]] = []
        for at, (prompt, text) in enumerate(batch):
            length = len(prompt) + len(text) - 1  # the last token predicts no scored token
            shared = 0
            if at:
                shared = min(length, len(rows[-1][0]), _shared(batch[at - 1], batch[at]))
            own = [*rows[-1][0][:shared]] if shared else []
            own += range(len(ids), len(ids) + length - shared)
            ids += [*prompt, *text][shared:length]
            positions += range(shared, length)
            before += own[len(prompt) - 1 :]
            rows.append((own, shared))
        return cls(ids, positions, before, rows)

    def hidden(self, phi: Phi) -> Tensor:
        """Return the hidden states ``[N, d]`` of the tokens."""
        ids = torch.tensor(self.ids, device=phi.device)
        positions = torch.tensor(self.positions, device=phi.device)
        return phi.hidden(ids, positions, _Packed(self.rows, phi.device))


def packed_hidden(phi: Phi, batch: Sequence[PromptAndText]) -> Tensor:
    """Return the hidden states ``[T, d]`` that predict the texts' T tokens, from one pass."""
    made = Pass.of(batch)
    return made.hidden(phi)[torch.tensor(made.before, device=phi.device)]


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
    """Causal attention within each of several sequences, without a cache."""

    def __init__(self, rows: Sequence[tuple[Sequence[int], int]], device: torch.device) -> None:
        self._rows = [
            (
                torch.tensor(own, device=device) if shared else slice(own[0], own[-1] + 1),
                shared,
            )
            for own, shared in rows
            if shared < len(own)
        ]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen = []
        for own, shared in self._rows:
            part = F.scaled_dot_product_attention(
                q[own].transpose(0, 1).unsqueeze(0),  # [1, H, length, D]
                k[own].transpose(0, 1).unsqueeze(0),
                v[own].transpose(0, 1).unsqueeze(0),
                is_causal=True,
                enable_gqa=q.shape[1] != k.shape[1],
            )
            seen.append(part[0].transpose(0, 1)[shared:])
        return torch.cat(seen).flatten(1)  # [N, H * D]
