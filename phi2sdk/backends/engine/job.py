"""One request to the local engine: the job, the steps that answer it, and the answer."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from phi2sdk.errors import Phi2Error, ProviderFault
from phi2sdk.sampling import Sampling
from phi2sdk.stops import StopCutter

if TYPE_CHECKING:
    from phi2sdk.backends.engine.slots import SlotToken
    from phi2sdk.backends.engine.tokenizer import Detokenizer

__all__ = [
    "Admitted",
    "Answer",
    "Ended",
    "Failed",
    "Generated",
    "Job",
    "News",
    "Step",
]


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request has a slot; its prompt is being read."""

    t_ns: int


@dataclass(frozen=True, slots=True)
class Generated:
    """One token, at the moment it was known."""

    t_ns: int
    step: Step


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is complete."""

    t_ns: int
    reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Failed:
    """There will be no more; ``error`` says why."""

    error: Phi2Error


News = Admitted | Generated | Ended | Failed


@dataclass(slots=True, eq=False)
class Job:
    """One request.

    Attributes:
        prompt: The prompt's tokens.
        sampling: How tokens are chosen.
        stops: Ends the answer at a stop.
        tell: Called on the worker's thread with each piece of news; must not block.
        cancelled: Set it to end the request within two steps, without further news.
    """

    prompt: list[int]
    sampling: Sampling
    stops: StopCutter
    tell: Callable[[News], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Step:
    """One generated token.

    Attributes:
        id: The token.
        text: The text that became complete with it; empty while a character is unfinished.
        logprob: Its natural-log probability under the model, before temperature and truncation.
        special: It ends the answer; its text is empty, except for a U+FFFD where the answer ends
            amid a character.
    """

    id: int
    text: str
    logprob: float
    special: bool = False


class Answer:
    """One answer in the making.

    Args:
        eos_ids: The tokens that end an answer.
        reader: Turns tokens into text.
        dtype: The model's, for the error where its numbers overflow.
        max_tokens: The most tokens.

    Attributes:
        count: Tokens so far.
        ended: There will be no more: the end-of-text token came, or ``max_tokens`` are there.
        overflowed: The model's numbers overflowed; the slot must be scrubbed.
    """

    def __init__(
        self, eos_ids: Container[int], reader: Detokenizer, dtype: str, max_tokens: int
    ) -> None:
        self._eos_ids = eos_ids
        self._reader = reader
        self._max_tokens = max_tokens
        self._dtype = dtype
        self.count = 0
        self.ended = False
        self.overflowed = False

    def take(self, token: SlotToken) -> Step:
        """The next token.

        Raises:
            ProviderFault: Its log-probability is not a number.
        """
        if math.isnan(token.logprob):
            self.ended = self.overflowed = True
            raise ProviderFault(
                f"the model's numbers overflowed in {self._dtype}: load it as float32"
            )
        self.count += 1
        special = token.id in self._eos_ids
        self.ended = special or self.count == self._max_tokens
        text = "" if special else self._reader.feed(token.id)
        if self.ended:
            text += self._reader.flush()
        return Step(token.id, text, token.logprob, special)
