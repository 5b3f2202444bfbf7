"""Calls whose truth is known: small distributions, drawn with numpy, scored exactly.

Every token has its own distribution over ``WORDS`` words; a call is a row of tokens. Nothing here
needs a model.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from phi2sdk.identity.call_table import BETAS, CallTable, Floats, Ints

WORDS = 40


def logits(calls: int, tokens: int, rng: np.random.Generator, *, scale: float = 2.5) -> Floats:
    """``[calls, tokens, WORDS]``; the scale decides the entropy (2.5: about 1.5 nats per token)."""
    return np.asarray(rng.normal(0, scale, (calls, tokens, WORDS)), dtype=np.float64)


def draw(x: Floats, rng: np.random.Generator) -> Ints:
    """One word for each token, ``[calls, tokens]``, by Gumbel's trick."""
    return np.asarray((x + rng.gumbel(size=x.shape)).argmax(-1), dtype=np.int64)


def table(
    reference: Floats,
    words: Ints,
    *,
    honest: dict[str, Floats] | None = None,
    candidates: dict[str, Floats] | None = None,
) -> CallTable:
    """The calls under the reference's logits, those of other honest precisions, and candidates'."""
    precisions = {"float32": reference, **(honest or {})}
    logp, drift, variance, entropy = {}, {}, {}, np.zeros(len(words))
    for name, x in precisions.items():
        own = log_softmax(x, -1)
        h = -(np.exp(own) * own).sum(-1)
        v = (np.exp(own) * (own + h[..., None]) ** 2).sum(-1)
        token = _at(own, words)
        logp[name], drift[name] = token.sum(-1), (token + h).sum(-1)
        variance[name] = v.sum(-1)
        if name == "float32":
            entropy = h.sum(-1)
    loglik = np.stack(
        [_at(log_softmax(beta * reference, -1), words).sum(-1) for beta in BETAS], axis=1
    )
    calls, tokens = words.shape
    return CallTable(
        prompt=np.arange(calls),
        tokens=np.full(calls, tokens),
        entropy=entropy,
        logp=logp,
        drift=drift,
        variance=variance,
        loglik=loglik,
        candidates={
            name: _at(log_softmax(x, -1), words).sum(-1) for name, x in (candidates or {}).items()
        },
    )


def _at(logp: Floats, words: Ints) -> Floats:
    return np.asarray(np.take_along_axis(logp, words[..., None], -1)[..., 0])
