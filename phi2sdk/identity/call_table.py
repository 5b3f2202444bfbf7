"""Scored calls: what every identity test reads, one row a call.

All log-likelihoods are in nats and conditional on the answer going on: end-of-text is taken out of
every distribution, so that where an answer ends says nothing about who wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

__all__ = ["BETAS", "CallTable", "Floats", "Ints", "joined", "nodes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOW, HIGH = 0.4, 2.5
"""Inverse temperatures between which the likelihood is known: T from 2.5 down to 0.4."""
NODES = 13


def nodes(count: int = NODES) -> Floats:
    """Inverse temperatures at the Chebyshev points of ``log beta``, in which it is smoothest.

    With 13 of them the interpolated log-likelihood of a token is right to 1e-3 nats at the ends
    and far better between 0.6 and 1.6.
    """
    at = chebyshev.chebpts1(count)
    return np.asarray(np.exp(_middle() + _half() * at), dtype=np.float64)


def _middle() -> float:
    return (math.log(HIGH) + math.log(LOW)) / 2


def _half() -> float:
    return (math.log(HIGH) - math.log(LOW)) / 2


BETAS = nodes()
"""Where :attr:`CallTable.loglik` is computed."""


@dataclass(frozen=True, slots=True, eq=False)
class CallTable:
    """n calls under the reference, the honest precisions and the candidates.

    Attributes:
        prompt: ``[n]`` which prompt, as an index.
        tokens: ``[n]`` scored tokens.
        entropy: ``[n]`` summed over the tokens, under the reference.
        logp: ``[n]`` log-likelihood by honest precision; the first is the reference.
        drift: ``[n]`` by honest precision: sum of ``log p + H``, mean 0 if it wrote the text.
        variance: ``[n]`` by honest precision: sum of the variances of ``log p``.
        loglik: ``[n, K]`` log-likelihood under the reference at the inverse temperatures
            :data:`BETAS`.
        candidates: ``[n]`` log-likelihood by candidate: other weights, templates, truncations.
    """

    prompt: Ints
    tokens: Ints
    entropy: Floats
    logp: Mapping[str, Floats]
    drift: Mapping[str, Floats]
    variance: Mapping[str, Floats]
    loglik: Floats
    candidates: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def reference(self) -> str:
        """The precision that all candidates are compared with."""
        return next(iter(self.logp))

    @property
    def honest(self) -> tuple[str, ...]:
        """The precisions of the null."""
        return tuple(self.logp)

    def take(self, rows: Sequence[int] | Ints) -> CallTable:
        """Some calls, in this order; a row may come more than once."""
        at = np.asarray(rows, dtype=np.int64)
        return CallTable(
            self.prompt[at],
            self.tokens[at],
            self.entropy[at],
            {name: column[at] for name, column in self.logp.items()},
            {name: column[at] for name, column in self.drift.items()},
            {name: column[at] for name, column in self.variance.items()},
            self.loglik[at],
            {name: column[at] for name, column in self.candidates.items()},
        )

    def only(self, honest: Sequence[str]) -> CallTable:
        """With fewer honest precisions, the first of them the reference."""
        return CallTable(
            self.prompt,
            self.tokens,
            self.entropy,
            {name: self.logp[name] for name in honest},
            {name: self.drift[name] for name in honest},
            {name: self.variance[name] for name in honest},
            self.loglik,
            self.candidates,
        )

    def at_temperature(self, temperature: float) -> Floats:
        """``[n]`` log-likelihood under the reference at a temperature, interpolated.

        Raises:
            ValueError: It is outside of what is known.
        """
        beta = 1 / temperature
        if not LOW <= beta <= HIGH:
            raise ValueError(
                f"the likelihood is known at temperatures from {1 / HIGH} to {1 / LOW}"
            )
        return np.asarray(self.loglik @ _weights(beta), dtype=np.float64)


def joined(tables: Sequence[CallTable]) -> CallTable:
    """Return the calls of several tables with the same precisions and candidates in one table."""

    def each(column: str) -> dict[str, Floats]:
        names = getattr(tables[0], column)
        return {n: np.concatenate([getattr(one, column)[n] for one in tables]) for n in names}

    return CallTable(
        np.concatenate([one.prompt for one in tables]),
        np.concatenate([one.tokens for one in tables]),
        np.concatenate([one.entropy for one in tables]),
        each("logp"),
        each("drift"),
        each("variance"),
        np.concatenate([one.loglik for one in tables]),
        each("candidates"),
    )


@lru_cache(maxsize=64)
def _weights(beta: float) -> Floats:
    """``[K]``: what each node counts for at ``beta``, by the polynomial through all of them."""
    degree = len(BETAS) - 1
    at = (math.log(beta) - _middle()) / _half()
    inside = chebyshev.chebvander(chebyshev.chebpts1(len(BETAS)), degree)
    wanted = chebyshev.chebvander(np.asarray([at]), degree)[0]
    return np.asarray(np.linalg.solve(inside.T, wanted), dtype=np.float64)
