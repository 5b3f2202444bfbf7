"""A request to the local engine: the job, the events that report on it, and its answer."""

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
    """The request has a slot, and its prompt is being processed."""

    t_ns: int


@dataclass(frozen=True, slots=True)
class Generated:
    """One token was generated; with ``last``, it completes the answer."""

    t_ns: int
    step: Step
    last: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is complete."""

    t_ns: int
    reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Failed:
    """The request failed with ``error``."""

    error: Phi2Error


News = Admitted | Generated | Ended | Failed


@dataclass(slots=True, eq=False)
class Job:
    """One request.

    Attributes:
        prompt: The tokens of the prompt.
        sampling: The sampling parameters.
        stops: Ends the answer at a stop.
        tell: Called on the worker's thread with each event; must not block.
        cancelled: Set this event to end the request within two steps, without further events.
        streamed: Whether somebody reads the tokens as they are generated. If nobody does, prompts
            of other requests are processed in larger pieces.
    """

    prompt: list[int]
    sampling: Sampling
    stops: StopCutter
    tell: Callable[[News], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    streamed: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """One generated token.

    Attributes:
        id: The token id.
        text: The text that this token completes; empty while a character is incomplete.
        logprob: Natural-log probability under the model, before temperature and truncation.
        special: Whether the token ends the answer. Its text is then empty, except for a U+FFFD if
            the answer ends inside a character.
    """

    id: int
    text: str
    logprob: float
    special: bool = False


class Answer:
    """One answer while it is generated.

    Args:
        eos_ids: The tokens that end an answer.
        reader: Converts tokens to text.
        dtype: The dtype of the model, named in the error when its numbers overflow.
        max_tokens: Maximum number of tokens.

    Attributes:
        count: Number of tokens so far.
        ended: Whether the end-of-text token or ``max_tokens`` was reached.
        overflowed: Whether the model's numbers overflowed, so that the slot must be scrubbed.
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
        """Add the next token and return its step.

        Raises:
            ProviderFault: The log-probability of the token is not a number.
        """
        if math.isnan(token.logprob):
            self.ended = self.overflowed = True
            raise ProviderFault(
                f"the model's numbers overflowed in {self._dtype}. Load the model with "
                'dtype="float32"'
            )
        self.count += 1
        special = token.id in self._eos_ids
        self.ended = special or self.count == self._max_tokens
        text = "" if special else self._reader.feed(token.id)
        if self.ended:
            text += self._reader.flush()
        return Step(token.id, text, token.logprob, special)
