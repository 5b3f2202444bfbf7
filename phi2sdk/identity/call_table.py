"""The table of scored calls that every identity test reads, with one row for each call.

All log-likelihoods are in nats. End-of-text is removed from every distribution, so the length of an
answer is not evidence.
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
"""The range of inverse temperatures in which the likelihood is known: T from 0.4 to 2.5."""
NODES = 13


STEP = 0.025


def nodes(count: int = NODES) -> Floats:
    """Return inverse temperatures near the Chebyshev points of ``log beta``, multiples of 0.025.

    With 13 of them the error of the interpolated log-likelihood of a token is less than 1e-3 nats,
    and its mean over the tokens of a text 1e-5. Multiples are fast to compute.
    """
    at = np.exp(_middle() + _half() * chebyshev.chebpts1(count))
    return np.round(at / STEP) * STEP


def _middle() -> float:
    return (math.log(HIGH) + math.log(LOW)) / 2


def _half() -> float:
    return (math.log(HIGH) - math.log(LOW)) / 2


BETAS = nodes()
"""The inverse temperatures at which :attr:`CallTable.loglik` is computed."""


@dataclass(frozen=True, slots=True, eq=False)
class CallTable:
    """n calls under the reference, the honest precisions and the candidates.

    Attributes:
        prompt: ``[n]`` the index of the prompt.
        tokens: ``[n]`` the number of scored tokens.
        entropy: ``[n]`` the sum of the entropies of the tokens under the reference.
        logp: ``[n]`` the log-likelihood by honest precision; the first is the reference.
        drift: ``[n]`` the sum of ``log p + H`` by honest precision, with mean 0 if that precision
            wrote the text.
        variance: ``[n]`` the sum of the variances of ``log p`` by honest precision.
        loglik: ``[n, K]`` the log-likelihood under the reference at the inverse temperatures
            :data:`BETAS`.
        candidates: ``[n]`` the log-likelihood by candidate: other weights, templates, truncations.
        texts: What is compared as text, one for each call; empty where no texts are compared.
        residuals: ``[n, k]`` how much more often tokens occur than the reference expects, in k
            signed sums over the vocabulary; ``None`` where they were not computed.
    """

    prompt: Ints
    tokens: Ints
    entropy: Floats
    logp: Mapping[str, Floats]
    drift: Mapping[str, Floats]
    variance: Mapping[str, Floats]
    loglik: Floats
    candidates: Mapping[str, Floats] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    residuals: Floats | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def reference(self) -> str:
        """The precision with which all candidates are compared."""
        return next(iter(self.logp))

    @property
    def honest(self) -> tuple[str, ...]:
        """The precisions that count as the model."""
        return tuple(self.logp)

    def take(self, rows: Sequence[int] | Ints) -> CallTable:
        """Return some calls in this order; a row may occur more than once."""
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
            tuple(self.texts[row] for row in at.tolist()) if self.texts else (),
            None if self.residuals is None else self.residuals[at],
        )

    def only(self, honest: Sequence[str]) -> CallTable:
        """Return the table with fewer honest precisions; the first of them is the reference."""
        return CallTable(
            self.prompt,
            self.tokens,
            self.entropy,
            {name: self.logp[name] for name in honest},
            {name: self.drift[name] for name in honest},
            {name: self.variance[name] for name in honest},
            self.loglik,
            self.candidates,
            self.texts,
            self.residuals,
        )

    def at_temperature(self, temperature: float) -> Floats:
        """Return the interpolated log-likelihood of each call at a temperature, ``[n]``.

        Raises:
            ValueError: The temperature is outside of the known range.
        """
        beta = 1 / temperature
        if not LOW <= beta <= HIGH:
            raise ValueError(
                f"the likelihood is known at temperatures from {1 / HIGH} to {1 / LOW}"
            )
        return np.asarray(self.loglik @ _weights(beta), dtype=np.float64)


def joined(tables: Sequence[CallTable]) -> CallTable:
    """Return the calls of several tables with the same precisions and candidates in one table.

    Texts and residuals are joined if all tables have them.
    """

    def each(column: str) -> dict[str, Floats]:
        names = getattr(tables[0], column)
        return {n: np.concatenate([getattr(one, column)[n] for one in tables]) for n in names}

    residuals = [one.residuals for one in tables if one.residuals is not None]
    return CallTable(
        np.concatenate([one.prompt for one in tables]),
        np.concatenate([one.tokens for one in tables]),
        np.concatenate([one.entropy for one in tables]),
        each("logp"),
        each("drift"),
        each("variance"),
        np.concatenate([one.loglik for one in tables]),
        each("candidates"),
        tuple(text for one in tables for text in one.texts) if all(t.texts for t in tables) else (),
        None if len(residuals) < len(tables) else np.concatenate(residuals),
    )


@lru_cache(maxsize=64)
def _weights(beta: float) -> Floats:
    """Return the weight of each node at ``beta``, ``[K]``, of the polynomial through all nodes."""
    degree = len(BETAS) - 1
    at = (math.log(beta) - _middle()) / _half()
    inside = chebyshev.chebvander((np.log(BETAS) - _middle()) / _half(), degree)
    wanted = chebyshev.chebvander(np.asarray([at]), degree)[0]
    return np.asarray(np.linalg.solve(inside.T, wanted), dtype=np.float64)
