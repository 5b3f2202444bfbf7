"""A request to the worker, and the news that come back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from phi2sdk.backends.engine.step import Step
from phi2sdk.errors import Phi2Error
from phi2sdk.sampling import Sampling
from phi2sdk.stops import StopCutter

__all__ = ["Admitted", "Ended", "Failed", "Generated", "Job", "News"]


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
