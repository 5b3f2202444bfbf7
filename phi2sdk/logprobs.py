"""Log-probabilities of the tokens of a given text."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Score", "TokenLogprob"]


@dataclass(frozen=True, slots=True)
class Score:
    """The scores of the tokens of a text under the model at a temperature, in nats.

    Each tuple has one entry per token. Let ``p`` be the next-token distribution at its position.

    Attributes:
        ids: The token ids.
        logprob: ``log p`` of the token.
        entropy: Entropy of ``p``, the mean of ``-log p`` under ``p``.
        variance: Variance of ``log p`` under ``p``.
        argmax: The most likely token.
        best: ``log p`` of the most likely token.
        margin: The largest logit minus the second largest, before the temperature. If it is very
            small, greedy decoding may differ between two implementations.
    """

    ids: tuple[int, ...]
    logprob: tuple[float, ...]
    entropy: tuple[float, ...]
    variance: tuple[float, ...]
    argmax: tuple[int, ...]
    best: tuple[float, ...]
    margin: tuple[float, ...]

    @property
    def regret(self) -> tuple[float, ...]:
        """Return ``best - logprob`` for each token, which is 0 for the most likely token."""
        pairs = zip(self.best, self.logprob, strict=True)
        return tuple(max(0.0, best - own) for best, own in pairs)

    @property
    def total(self) -> float:
        """Return the log-probability of the whole text."""
        return sum(self.logprob)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of a given text as an endpoint reports it, in nats.

    Attributes:
        text: The text of the token, as far as the endpoint can show it.
        logprob: ``log p`` after all preceding tokens; ``None`` for the first token.
        id: The token id; ``None`` if it is not reported.
        best: The most likely token and its ``log p``; ``None`` if it is not reported.
    """

    text: str
    logprob: float | None
    id: int | None = None
    best: tuple[str, float] | None = None
