"""How far a text's author is from another model, exactly, at every place of the text.

A log-likelihood ratio is one draw a token; its mean over the author's whole distribution has much
less noise (Rao and Blackwell), and costs no more than the logits of both, which are there anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from phi2sdk.backends.engine.model import LocalModel
from phi2sdk.backends.engine.sampler import shaped
from phi2sdk.backends.engine.scoring import LOGITS_BYTES, PromptAndText, packed, packed_hidden
from phi2sdk.sampling import Sampling

__all__ = ["Divergence", "divergences"]

_COPIES = 8
"""So many arrays of the logits' size exist at once."""


class Divergence(NamedTuple):
    """Sums over the tokens of one text, nats; end-of-text is taken out of both distributions.

    ``q`` is the author's distribution at a place, ``p`` the other's, ``y`` the token there.

    Attributes:
        kl: Of q from p.
        kl_noise: ``log q(y)/p(y) - KL``, of mean 0.
        drift: Mean of ``log p`` under q, plus the entropy of p.
        drift_noise: ``log p(y)`` minus its mean under q, of mean 0.
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
) -> list[Divergence]:
    """The divergence along each text.

    Args:
        author: Who wrote the texts.
        sampling: How: temperature, top_k, top_p and min_p count.
        other: Whom it is compared with, at temperature 1; of the same vocabulary.
        written: The texts, each after the prompt that the author saw.
        read: The same texts, each after the prompt that the other sees.
        logits_bytes: Logits and what is made of them take at most so much memory.
    """
    rows = max(1, logits_bytes // (4 * _COPIES * author.vocab_size))
    found: list[Divergence] = []
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
        found += [Divergence(*map(float, each)) for each in sums]
    return found


def _of_places(q: Tensor, p: Tensor, wanted: Tensor, ends: Collection[int]) -> Tensor:
    """``[n, V]`` logits of author and other, ``[n]`` tokens -> ``[n, 4]`` as in Divergence.

    A place whose token the author could not draw, since the text is tokenised in another way than
    it was written, adds nothing to the noise of the KL.
    """
    for id in ends:
        q[:, id] = p[:, id] = -torch.inf
    q, p = q.log_softmax(-1), p.log_softmax(-1)
    q = torch.where(q.isnan(), p, q)  # only end-of-text was left
    q_share, p_share = q.exp(), p.exp()
    p_finite = torch.where(torch.isfinite(p), p, 0)
    kl = torch.where(q_share > 0, q_share * (q - p), 0).sum(-1)
    mean = (q_share * p_finite).sum(-1)
    entropy = -(p_share * p_finite).sum(-1)
    own_q, own_p = (x.gather(-1, wanted.unsqueeze(-1)).squeeze(-1) for x in (q, p))
    kl_noise = torch.where(torch.isfinite(own_q), own_q - own_p - kl, 0)
    return torch.stack((kl, kl_noise, mean + entropy, own_p - mean), -1)
