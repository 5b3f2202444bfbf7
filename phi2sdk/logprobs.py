"""Log-probabilities of the tokens of a given text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Score:
    """Log-probabilities of the tokens of a text at a temperature, in nats.

    Each tuple has one entry per token. Let ``p`` be the next-token distribution at its position.

    Attributes:
        ids: The tokens.
        logprob: ``log p`` of the token itself.
        entropy: Of ``p``: the mean of ``-log p`` under ``p``.
        variance: Of ``log p`` under ``p``.
        argmax: The most likely token.
        best: ``log p`` of that one.
        margin: Its logit minus the second's, before the temperature: greedy decoding of two
            implementations may differ where it is tiny.
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
        """Difference to the log-probability of the most likely token, for each token."""
        pairs = zip(self.best, self.logprob, strict=True)
        return tuple(max(0.0, best - own) for best, own in pairs)

    @property
    def total(self) -> float:
        """Return the log-probability of the whole text."""
        return sum(self.logprob)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of a given text with the log-probability from an endpoint, in nats.

    Attributes:
        text: What it spells, as far as the endpoint can show it.
        logprob: ``log p`` after all tokens before it; ``None`` for the first.
        id: The id of the token; ``None`` if the endpoint does not return it.
        best: The most likely token there and its ``log p``; ``None`` if the endpoint does not
            return it.
    """

    text: str
    logprob: float | None
    id: int | None = None
    best: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class RankedToken:
    """A token of a given text with the most likely tokens at its position, in nats.

    Attributes:
        id: The token.
        logprob: ``log p`` after all tokens before it; ``None`` for the first.
        top: The most likely tokens there, each with its ``log p``; empty for the first.
    """

    id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()
