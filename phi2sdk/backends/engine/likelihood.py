"""Log-likelihoods of texts, and the divergence between variants of a model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phi2sdk.backends.engine.changed_sampling import (
    COPIES,
    Seen,
    Truncation,
    at_token,
    penalized,
    tempered,
    truncated,
)
from phi2sdk.backends.engine.model import LocalModel
from phi2sdk.backends.engine.sampler import shaped
from phi2sdk.backends.engine.scoring import (
    LOGITS_BYTES,
    Pass,
    PromptAndText,
    packed,
    packed_hidden,
    side_by_side,
)
from phi2sdk.backends.engine.token_residuals import BUCKETS, token_residuals
from phi2sdk.sampling import Sampling

__all__ = [
    "Ends",
    "ModelDivergence",
    "TextSums",
    "divergences",
    "log_likelihood",
    "log_probabilities",
    "text_sums",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Ends = Sequence[Sequence[int]]
"""For each text the numbers of tokens, from its beginning, whose sums are returned."""

_ROWS = 64
"""Maximum number of tokens whose logits are computed at a time: more would not fit into the
processor's cache."""
_FAR_BELOW = -1e4
"""Value of a masked logit: finite, so that 0 times its logarithm is 0."""


@dataclass(frozen=True, slots=True, eq=False)
class TextSums:
    """Sums over the tokens of n texts, or of their beginnings, after their prompts, in nats.

    Attributes:
        tokens: ``[n]`` number of tokens.
        logp: ``[n]`` log-likelihood.
        entropy: ``[n]`` sum of the entropies of the next-token distributions.
        variance: ``[n]`` sum of the variances of ``log p`` under these distributions.
        loglik: ``[n, K]`` log-likelihood at each of K inverse temperatures.
        truncated: ``[n]`` log-likelihood by truncation, each mixed with
            :data:`~phi2sdk.backends.engine.changed_sampling.EPSILON`.
        penalized: ``[n, P]`` log-likelihood at each of P repetition penalties.
        residuals: ``[n, R]`` observed minus expected counts of tokens, as
            :func:`~phi2sdk.backends.engine.token_residuals.token_residuals` returns them; R is 0
            if they were not asked for.
    """

    tokens: Ints
    logp: Floats
    entropy: Floats
    variance: Floats
    loglik: Floats
    truncated: Mapping[str, Floats]
    penalized: Floats
    residuals: Floats

    @property
    def drift(self) -> Floats:
        """Return ``[n]`` sums of ``log p + H``, which have mean 0 if this model wrote the text."""
        return self.logp + self.entropy


def log_likelihood(
    model: LocalModel,
    sequences: Sequence[PromptAndText],
    *,
    ends: Ends | None = None,
    logits_bytes: int = LOGITS_BYTES,
) -> Floats:
    """Return only the log-likelihood ``[n]`` of texts after their prompts, as for candidates.

    Args:
        model: The model that scores the texts.
        sequences: Prompt and text of each sequence.
        ends: The beginnings of each text that are scored, by default the whole text.
        logits_bytes: Maximum memory for logits and tensors derived from them.
    """

    def of(logits: Tensor, places: _Places) -> Tensor:
        _mask(logits, model)
        return (at_token(logits, places.wanted) - logits.logsumexp(-1)).unsqueeze(-1)

    return _summed(model, sequences, of, 1, ends, logits_bytes)[:, 0]


def text_sums(
    model: LocalModel,
    sequences: Sequence[PromptAndText],
    *,
    ends: Ends | None = None,
    betas: Sequence[float] | Floats = (),
    truncations: Mapping[str, Truncation] | None = None,
    penalties: Sequence[float] = (),
    residuals: bool = False,
    logits_bytes: int = LOGITS_BYTES,
) -> TextSums:
    """Return all sums of texts after their prompts, computed in one pass.

    Args:
        model: The model that scores the texts.
        sequences: Prompt and text of each sequence.
        ends: The beginnings of each text that are scored, by default the whole text.
        betas: Inverse temperatures at which to compute the likelihood: ascending multiples of
            :data:`~phi2sdk.backends.engine.changed_sampling.BETA_STEP`.
        truncations: Truncated samplers, by name.
        penalties: Repetition penalties at which to compute the likelihood.
        residuals: Whether to count tokens against their expectation.
        logits_bytes: Maximum memory for logits and tensors derived from them.
    """
    cuts = dict(truncations or {})
    powers = [float(beta) for beta in betas]

    def of(logits: Tensor, places: _Places) -> Tensor:
        ending = _mask(logits, model)
        wanted = places.wanted
        logp = logits.log_softmax(-1)
        own = at_token(logp, wanted)
        total = at_token(logits, wanted) - own
        p = logp.exp()
        entropy = -torch.linalg.vecdot(p, logp)
        squares = (logp + entropy.unsqueeze(-1)).square_()
        columns = [own, entropy, torch.linalg.vecdot(p, squares)]
        counts = [token_residuals(p, wanted)] if residuals else []
        columns += truncated(logits, ending, total, wanted, list(cuts.values()))
        columns += penalized(logits, p, total, wanted, places.seen, penalties)
        columns += tempered(logp, own, powers)
        return torch.cat((torch.stack(columns, -1), *counts), -1)

    widths = (3, len(cuts), len(penalties), len(powers), BUCKETS if residuals else 0)
    found = _summed(model, sequences, of, sum(widths), ends, logits_bytes)
    sums, kept, penalized_, heated, counted = np.split(found, np.cumsum(widths[:-1]), axis=1)
    return TextSums(
        tokens=np.array([end for each in _ends(sequences, ends) for end in each], dtype=np.int64),
        logp=sums[:, 0],
        entropy=sums[:, 1],
        variance=sums[:, 2],
        loglik=heated,
        truncated=dict(zip(cuts, kept.T, strict=True)),
        penalized=penalized_,
        residuals=counted,
    )


def _ends(sequences: Sequence[PromptAndText], ends: Ends | None) -> Ends:
    return [(len(text),) for _, text in sequences] if ends is None else ends


def _summed(
    model: LocalModel,
    sequences: Sequence[PromptAndText],
    of: Callable[[Tensor, _Places], Tensor],
    width: int,
    ends: Ends | None,
    logits_bytes: int,
) -> Floats:
    """Sum the values that ``of`` returns for each token up to each end: ``[n, width]``.

    ``of`` receives logits ``[m, V]``, which it may change, and the places of m tokens, and returns
    ``[m, width]``.
    """
    phi = model.phi
    rows = min(_ROWS, max(1, logits_bytes // (4 * (1 + COPIES) * phi.config.shape.vocab)))

    def one_pass(batch: Sequence[PromptAndText], ends: Ends) -> Tensor:
        made = Pass.of(batch)
        places, index = _Places.of(made, batch, phi.device)
        with torch.inference_mode(), phi.threads(len(made.ids)):
            hidden = made.hidden(phi)
            parts = []
            for at in range(0, len(places.wanted), rows):
                block = places.block(slice(at, at + rows))
                parts.append(of(phi.logits(hidden[block.before]), block))
            tokens = torch.cat(parts).double().cpu()[index]
        sums = torch.cat((torch.zeros(1, width), tokens)).cumsum(0)
        starts = accumulate((len(text) for _, text in batch), initial=0)
        spans = [(at, at + end) for at, each in zip(starts, ends, strict=False) for end in each]
        first, last = torch.tensor(spans).reshape(-1, 2).unbind(1)
        return sums[last] - sums[first]

    batches = list(packed(sequences))
    wanted_ends = iter(_ends(sequences, ends))
    own_ends = [[next(wanted_ends) for _ in batch] for batch in batches]
    found = side_by_side(phi, one_pass, batches, own_ends)
    return torch.cat(found).numpy() if found else np.zeros((0, width))


class _Places(NamedTuple):
    """The m distinct tokens of a pass that are scored, and the tokens before them.

    Attributes:
        before: ``[m]`` the place in the pass of the token before each.
        wanted: ``[m]`` the tokens.
        sequence: ``[m]`` the index of a sequence that has it.
        length: ``[m]`` the number of tokens before it.
        tokens: ``[B, S]`` the distinct tokens of each sequence, padded with the first.
        first: ``[B, S]`` the number of tokens before each of them.
    """

    before: Tensor
    wanted: Tensor
    sequence: Tensor
    length: Tensor
    tokens: Tensor
    first: Tensor

    @classmethod
    def of(
        cls, made: Pass, batch: Sequence[PromptAndText], device: torch.device
    ) -> tuple[_Places, Tensor]:
        """Return the places of a pass, and the place ``[T]`` of each token of the texts."""
        at: dict[tuple[int, int], int] = {}  # equal tokens after the same tokens are one place
        rows: list[tuple[int, int, int, int]] = []
        index: list[int] = []
        last = iter(made.before)
        for number, (prompt, text) in enumerate(batch):
            for place, id in enumerate(text, len(prompt)):
                key = next(last), id
                if key not in at:
                    at[key] = len(rows)
                    rows.append((*key, number, place))
                index.append(at[key])
        seen = [_first_places((*prompt, *text)) for prompt, text in batch]
        width = max(map(len, seen))
        tokens = [[*one, *[next(iter(one))] * (width - len(one))] for one in seen]
        first = [[*one.values(), *[0] * (width - len(one))] for one in seen]
        before, wanted, sequence, length = torch.tensor(rows, device=device).unbind(1)
        own_tokens, own_first = (torch.tensor(x, device=device) for x in (tokens, first))
        places = cls(before, wanted, sequence, length, own_tokens, own_first)
        return places, torch.tensor(index)

    def block(self, rows: slice) -> _Places:
        """Return some of the places."""
        columns = {name: getattr(self, name)[rows] for name in self._fields[:4]}
        return self._replace(**columns)

    @property
    def seen(self) -> Seen:
        """The distinct tokens before each place."""
        ids, first = self.tokens[self.sequence], self.first[self.sequence]
        mask = first < self.length.unsqueeze(-1)
        mask[:, 1:] &= first[:, 1:] > 0  # the first token fills up
        return Seen(torch.where(mask, ids, ids[:, :1]), mask)


def _first_places(ids: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for at, id in enumerate(ids):
        found.setdefault(id, at)
    return found


def _mask(logits: Tensor, model: LocalModel) -> Tensor:
    """Make the tokens that end a text impossible, and return their logits ``[m, E]``."""
    ids = list(model.eos_ids)
    ending = logits[:, ids]
    logits[:, ids] = _FAR_BELOW
    return ending


_DIVERGENCE_COPIES = 8
"""Number of arrays of the size of the logits that exist at the same time."""


class ModelDivergence(NamedTuple):
    """Sums over the tokens of one text, in nats; both distributions exclude end-of-text.

    At each position ``q`` is the distribution of the author, ``p`` that of the other model, and
    ``y`` the token.

    Attributes:
        kl: KL divergence of q from p.
        kl_noise: ``log q(y)/p(y) - KL``, which has mean 0.
        drift: Mean of ``log p`` under q, plus the entropy of p.
        drift_noise: ``log p(y)`` minus its mean under q, which has mean 0.
    """

    kl: float
    kl_noise: float
    drift: float
    drift_noise: float


def divergences(
    author: LocalModel,
    sampling: Sampling,
    other: LocalModel,
    written: Sequence[PromptAndText],
    read: Sequence[PromptAndText],
    *,
    logits_bytes: int = LOGITS_BYTES,
) -> list[ModelDivergence]:
    """Return the divergence along each text.

    Args:
        author: The model that wrote the texts.
        sampling: The author's sampling. Temperature, top_k, top_p and min_p are used.
        other: The model to compare with, at temperature 1, with the same vocabulary.
        written: The texts, each with the prompt of the author.
        read: The same texts, each with the prompt of the other model.
        logits_bytes: Maximum memory for logits and tensors derived from them.
    """
    rows = max(1, logits_bytes // (4 * _DIVERGENCE_COPIES * author.vocab_size))
    found: list[ModelDivergence] = []
    for batch in packed(written):
        seen = read[len(found) : len(found) + len(batch)]
        tokens = sum(len(prompt) + len(text) for prompt, text in batch)
        with torch.inference_mode(), author.phi.threads(tokens):
            q, p = packed_hidden(author.phi, batch), packed_hidden(other.phi, seen)  # [T, d]
            wanted = torch.tensor([id for _, text in batch for id in text], device=q.device)
            parts = [
                _of_places(
                    shaped(author.phi.logits(q[block]), [sampling] * len(wanted[block])),
                    other.phi.logits(p[block]),
                    wanted[block],
                    author.eos_ids,
                )
                for block in (slice(at, at + rows) for at in range(0, len(q), rows))
            ]
            places = torch.cat(parts).double().cpu().numpy()
        ends = np.cumsum([len(text) for _, text in batch])
        sums = np.add.reduceat(places, [0, *ends[:-1]])
        found += [ModelDivergence(*map(float, each)) for each in sums]
    return found


def _of_places(q: Tensor, p: Tensor, wanted: Tensor, ends: Collection[int]) -> Tensor:
    """Return ``[n, 4]`` the fields of ModelDivergence, from logits ``[n, V]`` and tokens ``[n]``.

    The tokenizer may split a text differently from the author, so the author's sampling may exclude
    a token. Such a position adds nothing to the noise of the KL.
    """
    for id in ends:
        q[:, id] = p[:, id] = -torch.inf
    q, p = q.log_softmax(-1), p.log_softmax(-1)
    q = torch.where(q.isnan(), p, q)  # the sampling kept only end-of-text
    q_share, p_share = q.exp(), p.exp()
    p_finite = torch.where(torch.isfinite(p), p, 0)
    kl = torch.where(q_share > 0, q_share * (q - p), 0).sum(-1)
    mean = (q_share * p_finite).sum(-1)
    entropy = -(p_share * p_finite).sum(-1)
    own_q, own_p = (x.gather(-1, wanted.unsqueeze(-1)).squeeze(-1) for x in (q, p))
    kl_noise = torch.where(torch.isfinite(own_q), own_q - own_p - kl, 0)
    return torch.stack((kl, kl_noise, mean + entropy, own_p - mean), -1)


_ALTERNATIVES_COPIES = 3
"""Number of arrays of the size of the logits that exist at the same time."""


def log_probabilities(
    model: LocalModel,
    sequences: Sequence[PromptAndText],
    choices: Sequence[Sequence[Sequence[int]]],
    *,
    logits_bytes: int = LOGITS_BYTES,
) -> list[list[list[float]]]:
    """Return the log-probability of each of the given tokens at each position of each text.

    The probabilities are conditional on the text continuing: they exclude end-of-text.

    Args:
        model: The model that scores the texts.
        sequences: Prompt and text of each sequence, both as tokens and neither empty.
        choices: The tokens to score at each position of each text.
        logits_bytes: Maximum memory for logits and tensors derived from them.
    """
    rows = min(_ROWS, max(1, logits_bytes // (4 * _ALTERNATIVES_COPIES * model.vocab_size)))
    found: list[list[list[float]]] = []
    for batch in packed(sequences):
        here = choices[len(found) : len(found) + len(batch)]
        places = [tokens for text in here for tokens in text]
        wanted = torch.tensor([*chain.from_iterable(places)], device=model.phi.device)
        ends = [*accumulate(map(len, places), initial=0)]
        place = torch.arange(len(places), device=wanted.device).repeat_interleave(
            torch.tensor(list(map(len, places)), device=wanted.device)
        )
        count = sum(len(prompt) + len(text) for prompt, text in batch)
        with torch.inference_mode(), model.phi.threads(count):
            hidden = packed_hidden(model.phi, batch)
            parts = []
            for at in range(0, len(hidden), rows):
                logits = model.phi.logits(hidden[at : at + rows])
                for id in model.eos_ids:
                    logits[:, id] = -torch.inf
                some = slice(ends[at], ends[min(at + rows, len(places))])
                own = place[some] - at
                parts.append(logits[own, wanted[some]] - logits.logsumexp(-1)[own])
        values = torch.cat(parts).tolist()
        each = (values[begin:end] for begin, end in pairwise(ends))
        found += [[next(each) for _ in text] for text in here]
    return found
