"""Schedule the requests before a run: sequential, closed or open (Poisson) load."""

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

LoadKind = Literal["sequential", "closed", "poisson"]


@dataclass(frozen=True, slots=True)
class Load:
    """The arrival pattern of requests.

    Attributes:
        kind: ``sequential``: one request at a time, over all targets. ``closed``: each target
            always has ``concurrency`` requests in flight. ``poisson``: each target gets ``rate``
            requests per second with exponential gaps, independent of the answers.
        concurrency: Requests in flight per target, for ``closed``.
        rate: Requests per second and target, for ``poisson``.
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
            raise ConfigurationError(
                "the load poisson requires a rate (requests per second), and other loads take none"
            )
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ConfigurationError(f"rate {self.rate:g} must be above 0")


@dataclass(frozen=True, slots=True)
class Due:
    """A request with its due time, in seconds after the start; ``None`` if it waits its turn."""

    key: Key
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """A queue of requests. Several lanes run concurrently.

    Attributes:
        dues: The requests.
        width: Maximum number of requests in flight; ``None`` for no limit.
    """

    dues: tuple[Due, ...]
    width: int | None = 1


@dataclass(frozen=True, slots=True)
class Endless:
    """An endless queue of requests, which are sent in order for a given time.

    Attributes:
        dues: Returns the endless sequence of requests.
        width: Maximum number of requests in flight.
        seconds: Time after which no request is started. Requests in flight are completed.
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
    """Return all requests of an arm as lanes.

    Each repetition has all prompts in a new random order, and for each prompt all targets in random
    order, so that drift affects all targets equally. Under ``closed`` and ``poisson`` the targets
    are loaded at the same time, each in that order. The arrival times of a Poisson load depend only
    on the seed and the target.

    Args:
        load: The arrival pattern.
        targets: The names of the targets.
        prompts: The ids of the prompts.
        arm: The arm of the requests.
        repetitions: Number of answers of each target to each prompt.
        seed: Seed of the order and of the arrival times.
        done: Keys of requests that are already recorded. In an open load, the other requests keep
            the gaps between them.
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
    """Return the greedy requests of a run with a duration, repeating the prompts as :func:`plan`.

    An open load has every arrival within the duration, and all are sent. Other loads send requests
    until the duration has passed.

    Args:
        load: The arrival pattern.
        targets: The names of the targets.
        prompts: The ids of the prompts.
        seconds: The duration, over all sessions of the run.
        spent: The part of the duration that earlier sessions have used.
        seed: Seed of the order and of the arrival times.
        done: Keys of requests that are already recorded.
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
    """Return ``calls`` requests of the sampled arm per target, spread evenly over the prompts.

    Each target has its own lane, with the same order. Latencies of this arm are not measured.

    Args:
        targets: The names of the targets.
        prompts: The ids of the prompts.
        calls: Number of requests per target.
        width: Maximum number of requests in flight per target.
        seed: Seed of the order.
        done: Keys of requests that are already recorded.
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
    """Return ``count`` requests per target before the run, one at a time, in no statistic."""
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
    """Return the remaining arrivals; in a resumed run, the next one is due immediately."""
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
