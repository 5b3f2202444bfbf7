"""Log-likelihoods of texts, and the divergence between variants of a model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phi2sdk.backends.engine.model import LocalModel
from phi2sdk.backends.engine.sampler import shaped
from phi2sdk.backends.engine.scoring import (
    LOGITS_BYTES,
    Pass,
    PromptAndText,
    packed,
    packed_hidden,
)
from phi2sdk.sampling import Sampling

__all__ = [
    "EPSILON",
    "Ends",
    "ModelDivergence",
    "TextSums",
    "Truncation",
    "divergences",
    "log_likelihood",
    "log_probabilities",
    "text_sums",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Ends = Sequence[Sequence[int]]
"""For each text the numbers of tokens, from its beginning, whose sums are returned."""

EPSILON = 0.01
"""Share of the full distribution that is mixed into a truncated candidate, so that a single token
outside of the truncated set does not rule the candidate out."""

_LIKELIHOOD_COPIES = 6
"""Number of float32 tensors of the size of the logits that exist at the same time."""
_ROWS = 256
"""Maximum number of tokens whose logits are computed at a time: more would not fit into the
processor's cache."""
_FAR_BELOW = -1e4
"""Value of a masked logit: finite, so that 0 times its logarithm is 0."""
_RANKED = 256
"""Number of most likely tokens that are ranked first; all tokens are ranked only if necessary."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """A sampler that excludes unlikely tokens by ``top_k`` or by ``top_p``."""

    top_p: float | None = None
    top_k: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TextSums:
    """Sums over the tokens of n texts, or of their beginnings, after their prompts, in nats.

    Attributes:
        tokens: ``[n]`` number of tokens.
        logp: ``[n]`` log-likelihood.
        entropy: ``[n]`` sum of the entropies of the next-token distributions.
        variance: ``[n]`` sum of the variances of ``log p`` under these distributions.
        loglik: ``[n, K]`` log-likelihood at each of K inverse temperatures.
        truncated: ``[n]`` log-likelihood by truncation, each mixed with :data:`EPSILON`.
    """

    tokens: Ints
    logp: Floats
    entropy: Floats
    variance: Floats
    loglik: Floats
    truncated: Mapping[str, Floats] = field(default_factory=dict)

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

    def of(logits: Tensor, wanted: Tensor) -> Tensor:
        _mask(logits, model)
        return (_at(logits, wanted) - logits.logsumexp(-1)).unsqueeze(-1)

    return _summed(model, sequences, of, 1, ends, logits_bytes)[:, 0]


def text_sums(
    model: LocalModel,
    sequences: Sequence[PromptAndText],
    *,
    ends: Ends | None = None,
    betas: Sequence[float] | Floats = (),
    truncations: Mapping[str, Truncation] | None = None,
    logits_bytes: int = LOGITS_BYTES,
) -> TextSums:
    """Return all sums of texts after their prompts, computed in one pass.

    Args:
        model: The model that scores the texts.
        sequences: Prompt and text of each sequence.
        ends: The beginnings of each text that are scored, by default the whole text.
        betas: Inverse temperatures at which to compute the likelihood.
        truncations: Truncated samplers, by name.
        logits_bytes: Maximum memory for logits and tensors derived from them.
    """
    cuts = dict(truncations or {})

    def of(logits: Tensor, wanted: Tensor) -> Tensor:
        sets = _Sets.of(logits, list(cuts.values())) if cuts else None
        _mask(logits, model)
        logp = logits.log_softmax(-1)
        own = _at(logp, wanted)
        p = logp.exp()
        entropy = -(p * logp).sum(-1)
        variance = (p * (logp + entropy.unsqueeze(-1)).square()).sum(-1)
        columns = [own, entropy, variance]
        if sets is not None:
            columns += sets.log_likelihoods(logits, p, own, wanted)
        for beta in betas:
            columns.append(float(beta) * own - logp.mul(float(beta)).logsumexp(-1))
        return torch.stack(columns, -1)

    found = _summed(model, sequences, of, 3 + len(cuts) + len(betas), ends, logits_bytes)
    at = 3 + len(cuts)
    return TextSums(
        tokens=np.array([end for each in _ends(sequences, ends) for end in each], dtype=np.int64),
        logp=found[:, 0],
        entropy=found[:, 1],
        variance=found[:, 2],
        loglik=found[:, at:],
        truncated={name: found[:, 3 + index] for index, name in enumerate(cuts)},
    )


def _ends(sequences: Sequence[PromptAndText], ends: Ends | None) -> Ends:
    return [(len(text),) for _, text in sequences] if ends is None else ends


def _summed(
    model: LocalModel,
    sequences: Sequence[PromptAndText],
    of: Callable[[Tensor, Tensor], Tensor],
    width: int,
    ends: Ends | None,
    logits_bytes: int,
) -> Floats:
    """Sum the values that ``of`` returns for each token up to each end: ``[n, width]``.

    ``of`` receives logits ``[m, V]``, which it may change, and tokens ``[m]``, and returns
    ``[m, width]``.
    """
    phi = model.phi
    rows = min(_ROWS, max(1, logits_bytes // (4 * _LIKELIHOOD_COPIES * phi.config.shape.vocab)))

    def one_pass(batch: Sequence[PromptAndText], ends: Ends) -> Tensor:
        made = Pass.of(batch)
        texts = (id for _, text in batch for id in text)
        pairs = list(zip(made.before, texts, strict=True))  # equal pairs have equal values
        place = {pair: at for at, pair in enumerate(dict.fromkeys(pairs))}
        before, wanted = torch.tensor([*place]).to(phi.device).unbind(1)
        with torch.inference_mode(), phi.threads(len(made.ids)):
            hidden = made.hidden(phi)[before]
            parts = [
                of(phi.logits(hidden[at : at + rows]), wanted[at : at + rows])
                for at in range(0, len(wanted), rows)
            ]
            tokens = torch.cat(parts).double().cpu()[torch.tensor([place[pair] for pair in pairs])]
        sums = torch.cat((torch.zeros(1, width), tokens)).cumsum(0)
        starts = [0, *accumulate(len(text) for _, text in batch)]
        places = [(at, at + end) for at, each in zip(starts, ends, strict=False) for end in each]
        first, last = torch.tensor(places).reshape(-1, 2).unbind(1)
        return sums[last] - sums[first]

    batches = list(packed(sequences))
    wanted_ends = iter(_ends(sequences, ends))
    own_ends = [[next(wanted_ends) for _ in batch] for batch in batches]
    side_by_side = torch.get_num_threads() if phi.small and phi.device.type == "cpu" else 1
    with ThreadPoolExecutor(side_by_side) as pool:
        found = list(pool.map(one_pass, batches, own_ends))
    return torch.cat(found).numpy() if found else np.zeros((0, width))


def _mask(logits: Tensor, model: LocalModel) -> None:
    for id in model.eos_ids:
        logits[:, id] = _FAR_BELOW


def _at(values: Tensor, wanted: Tensor) -> Tensor:
    return values.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)


class _Sets:
    """The sets of tokens that the truncations keep: tokens whose logit reaches a threshold.

    A sampler does not mask end-of-text, so the sets are those of the full distribution. They
    include ties with the last token.
    """

    def __init__(self, thresholds: Sequence[Tensor]) -> None:
        self._thresholds = thresholds  # each [m, 1]

    @classmethod
    def of(cls, logits: Tensor, cuts: Sequence[Truncation]) -> _Sets:
        """Compute the sets from unmasked logits ``[m, V]``."""
        ranked = logits.topk(min(_RANKED, logits.shape[-1]), -1).values
        total = logits.logsumexp(-1, keepdim=True)
        mass = (ranked - total).exp().cumsum(-1)
        found = [_threshold(cut, ranked, mass) for cut in cuts]
        share = max((cut.top_p for cut in cuts if cut.top_p is not None), default=0.0)
        short = mass[:, -1] < share
        if bool(short.any()):  # rank the full vocabulary for these tokens
            ranked = logits[short].sort(-1, descending=True).values
            mass = (ranked - total[short]).exp().cumsum(-1)
            for cut, threshold in zip(cuts, found, strict=True):
                threshold[short] = _threshold(cut, ranked, mass)
        return cls(found)

    def log_likelihoods(
        self, logits: Tensor, p: Tensor, own: Tensor, wanted: Tensor
    ) -> list[Tensor]:
        """Return the ``[m]`` log-likelihoods for each truncation, mixed with :data:`EPSILON`."""
        found = []
        for threshold in self._thresholds:
            kept = logits >= threshold
            mass = (p * kept).sum(-1).clamp_min(1e-30)
            inside = _at(kept, wanted)
            found.append(own + (EPSILON + (1 - EPSILON) * inside / mass).log())
        return found


def _threshold(cut: Truncation, ranked: Tensor, mass: Tensor) -> Tensor:
    """Return ``[m, 1]`` the smallest logit that the truncation keeps."""
    least = ranked[:, -1:].new_full((len(ranked), 1), -torch.inf)
    if cut.top_k is not None:
        least = ranked[:, min(cut.top_k, ranked.shape[-1]) - 1].unsqueeze(-1)
    if cut.top_p is not None:
        last = (mass < cut.top_p).sum(-1, keepdim=True).clamp_max(ranked.shape[-1] - 1)
        least = torch.maximum(least, ranked.gather(-1, last))
    return least


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
) -> list[NDArray[np.float64]]:
    """Return ``[T, K]`` log-probabilities of K given tokens at each of a text's T positions.

    The probabilities are conditional on the text continuing: they exclude end-of-text.

    Args:
        model: The model that scores the texts.
        sequences: Prompt and text of each sequence, both as tokens and neither empty.
        choices: The tokens to score at each position of each text. K is the largest number of
            tokens at a position; positions with fewer tokens are filled up with ``-inf``.
        logits_bytes: Maximum memory for logits and tensors derived from them.
    """
    rows = max(1, logits_bytes // (4 * _ALTERNATIVES_COPIES * model.vocab_size))
    found: list[NDArray[np.float64]] = []
    for batch in packed(sequences):
        here = choices[len(found) : len(found) + len(batch)]
        places = [tokens for text in here for tokens in text]
        width = max(map(len, places))
        wanted = torch.tensor([[*tokens, *[-1] * (width - len(tokens))] for tokens in places])
        count = sum(len(prompt) + len(text) for prompt, text in batch)
        with torch.inference_mode(), model.phi.threads(count):
            hidden = packed_hidden(model.phi, batch)
            parts = []
            for at in range(0, len(hidden), rows):
                logits = model.phi.logits(hidden[at : at + rows])
                for id in model.eos_ids:
                    logits[:, id] = -torch.inf
                some = wanted[at : at + rows].to(logits.device)
                value = logits.gather(-1, some.clamp_min(0)) - logits.logsumexp(-1, keepdim=True)
                parts.append(value.masked_fill(some < 0, -torch.inf).double().cpu())
        ends = np.cumsum([len(text) for _, text in batch])
        found += np.split(torch.cat(parts).numpy(), ends[:-1])
    return found
