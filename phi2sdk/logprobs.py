"""How likely a given text is, token by token."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Score", "TokenLogprob"]


@dataclass(frozen=True, slots=True)
class Score:
    """The tokens of a text under the model's distribution at a temperature; nats.

    Each tuple has one entry a token. Let ``p`` be the distribution of the next token there.

    Attributes:
        ids: The tokens.
        logprob: ``log p`` of the token itself.
        entropy: Of ``p``: the mean of ``-log p`` under ``p``.
        variance: Of ``log p`` under ``p``.
        argmax: The likeliest token.
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
        """How much likelier the likeliest token was than the one that came: 0 if it was that."""
        pairs = zip(self.best, self.logprob, strict=True)
        return tuple(max(0.0, best - own) for best, own in pairs)

    @property
    def total(self) -> float:
        """Log-probability of the whole text."""
        return sum(self.logprob)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of a given text, as an endpoint tells it; nats.

    Attributes:
        text: What it spells, as far as the endpoint can show it.
        logprob: ``log p`` after all tokens before it; ``None`` for the first.
        id: ``None`` where it is not told.
        best: The likeliest token there and its ``log p``; ``None`` where it is not told.
    """

    text: str
    logprob: float | None
    id: int | None = None
    best: tuple[str, float] | None = None
