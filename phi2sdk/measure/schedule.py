"""When each request is due: sequential, closed or open (Poisson), fixed before the run begins."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import count as count_up
from itertools import islice, takewhile
from typing import Literal

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.records import Arm, Key

__all__ = [
    "Due",
    "Endless",
    "Lane",
    "Load",
    "LoadKind",
    "cycle",
    "plan",
    "sampled",
    "seed_of",
    "warmup",
]

LoadKind = Literal["sequential", "closed", "poisson"]


@dataclass(frozen=True, slots=True)
class Load:
    """How requests follow each other.

    Attributes:
        kind: ``sequential``: one request at a time, over all targets. ``closed``: each target
            always has ``concurrency`` requests under way. ``poisson``: each target gets
            ``rate`` requests a second at exponential gaps, whatever has been answered.
        concurrency: Of ``closed``.
        rate: Of ``poisson``, requests a second and target.
    """

    kind: LoadKind = "sequential"
    concurrency: int = 1
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("sequential", "closed", "poisson"):
            raise ConfigurationError(
                f"there is no load {self.kind!r}: use sequential, closed or poisson"
            )
        if self.concurrency < 1:
            raise ConfigurationError(f"concurrency {self.concurrency} must be at least 1")
        if self.kind != "closed" and self.concurrency != 1:
            raise ConfigurationError(f"concurrency belongs to load closed, not to {self.kind}")
        if (self.kind == "poisson") != (self.rate is not None):
            raise ConfigurationError("load poisson needs a rate (requests a second), others none")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ConfigurationError(f"rate {self.rate:g} must be above 0")


@dataclass(frozen=True, slots=True)
class Due:
    """A request, and when it is due: seconds after the start; ``None``: as soon as its turn is."""

    key: Key
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """Requests that wait for one another, in order; lanes run side by side.

    Attributes:
        dues: The requests.
        width: So many may be under way at once; ``None``: no limit.
    """

    dues: tuple[Due, ...]
    width: int | None = 1


@dataclass(frozen=True, slots=True)
class Endless:
    """Requests without an end, taken in order until the time is over.

    Attributes:
        dues: Begins the sequence anew; there is always a next one.
        width: So many may be under way at once.
        seconds: After so long nothing more begins; what is under way comes to its end.
    """

    dues: Callable[[], Iterator[Due]]
    width: int
    seconds: float


def plan(
    load: Load,
    targets: Sequence[str],
    prompts: Sequence[str],
    *,
    arm: Arm = "greedy",
    repetitions: int = 1,
    seed: int = 0,
    done: Container[Key] = (),
) -> tuple[Lane, ...]:
    """All requests of an arm, as lanes.

    Each repetition goes through all prompts in a random order of its own, and for each prompt
    through all targets in random order, so that whatever drifts hits all targets alike. Under
    ``closed`` and ``poisson`` the targets are loaded at the same time, each in that order. The
    Poisson times of a target depend on seed and target only, and are fixed here.

    Args:
        load: How requests follow each other.
        targets: Their names.
        prompts: Their ids.
        arm: The arm they belong to.
        repetitions: How often each target answers each prompt.
        seed: Of the order and of the arrival times.
        done: Keys that have their record already. Of an open load, the rest keeps its distances.
    """
    order = list(_order(targets, prompts, arm, repetitions, seed))
    if load.kind == "sequential":
        return (Lane(tuple(Due(key) for key in order if key not in done)),)
    lanes = []
    for target in targets:
        keys = [key for key in order if key.target == target]
        if load.kind == "closed":
            left = tuple(Due(key) for key in keys if key not in done)
            lanes.append(Lane(left, load.concurrency))
        else:
            times = _arrivals(load, f"{seed}/{arm}/{target}")
            lanes.append(_open_lane(list(zip(keys, times, strict=False)), done))
    return tuple(lanes)


def cycle(
    load: Load,
    targets: Sequence[str],
    prompts: Sequence[str],
    *,
    seconds: float,
    spent: float = 0.0,
    seed: int = 0,
    done: Container[Key] = (),
) -> tuple[Lane | Endless, ...]:
    """Requests of the greedy arm for a time: the prompts over and over, as :func:`plan` does.

    Of an open load every arrival of that time is fixed here, and all are sent. Other loads send
    until the time is over.

    Args:
        load: How requests follow each other.
        targets: Their names.
        prompts: Their ids.
        seconds: How long, all sessions of a run together.
        spent: Of that, what earlier sessions have used.
        seed: Of the order and of the arrival times.
        done: Keys that have their record already.
    """

    def only(*names: str) -> Iterator[Key]:
        return (k for k in _order(targets, prompts, "greedy", None, seed) if k.target in names)

    def left(*names: str) -> Callable[[], Iterator[Due]]:
        return lambda: (Due(key) for key in only(*names) if key not in done)

    if not (targets and prompts):
        return ()
    if load.kind == "poisson":
        lanes = []
        for target in targets:
            times = takewhile(lambda at: at < seconds, _arrivals(load, f"{seed}/greedy/{target}"))
            arrivals = [(key, at) for at, key in zip(times, only(target), strict=False)]
            lanes.append(_open_lane(arrivals, done))
        return tuple(lanes)
    rest = max(0.0, seconds - spent)
    if load.kind == "sequential":
        return (Endless(left(*targets), 1, rest),)
    return tuple(Endless(left(target), load.concurrency, rest) for target in targets)


def sampled(
    targets: Sequence[str],
    prompts: Sequence[str],
    calls: int,
    *,
    width: int = 1,
    seed: int = 0,
    done: Container[Key] = (),
) -> tuple[Lane, ...]:
    """``calls`` requests of the sampled arm for each target, over the prompts as evenly as can be.

    Each target is a lane of its own, in the order that all share. Nobody's time is measured here.

    Args:
        targets: Their names.
        prompts: Their ids.
        calls: How many for each target.
        width: So many requests of a target may be under way at once.
        seed: Of the order.
        done: Keys that have their record already.
    """
    order = _order(targets, prompts, "sampled", None, seed)
    keys = list(islice(order, calls * len(targets))) if targets and prompts else []
    return tuple(
        Lane(tuple(Due(key) for key in keys if key.target == target and key not in done), width)
        for target in targets
    )


def warmup(
    targets: Sequence[str], prompts: Sequence[str], count: int, done: Container[Key] = ()
) -> tuple[Lane, ...]:
    """``count`` requests a target before the run, one at a time, apart from all statistics."""
    keys = (
        Key("warmup", target, prompts[i % len(prompts)], i)
        for i in range(count)
        for target in targets
    )
    return (Lane(tuple(Due(key) for key in keys if key not in done)),)


def seed_of(run_seed: int, key: Key) -> int:
    """The sampling seed of one request: a hash, so that no two requests share their noise.

    31 bits, since some routes take no more.
    """
    text = json.dumps([run_seed, key.target, key.arm, key.prompt, key.repetition])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 2**31


def _order(
    targets: Sequence[str], prompts: Sequence[str], arm: Arm, repetitions: int | None, seed: int
) -> Iterator[Key]:
    shuffle = random.Random(f"{seed}/{arm}/order")
    for repetition in count_up() if repetitions is None else range(repetitions):
        for prompt in shuffle.sample(prompts, len(prompts)):
            for target in shuffle.sample(targets, len(targets)):
                yield Key(arm, target, prompt, repetition)


def _open_lane(arrivals: Sequence[tuple[Key, float]], done: Container[Key]) -> Lane:
    """What is left of them; resumed, the next one is due at once."""
    due = [Due(key, at) for key, at in arrivals if key not in done]
    start = due[0].at or 0.0 if due and due[0].key != arrivals[0][0] else 0.0
    return Lane(tuple(Due(d.key, (d.at or 0.0) - start) for d in due), None)


def _arrivals(load: Load, seed: str) -> Iterator[float]:
    """Seconds from the start; the first arrival is a random gap after it, as all others."""
    assert load.rate is not None
    gaps, now = random.Random(f"{seed}/arrivals"), 0.0
    while True:
        now += gaps.expovariate(load.rate)
        yield now
