"""Answer rows on the nodes of a Ray cluster.

An actor on each node sends with the worker of :mod:`phi2sdk.bulk.worker`. The driver, which
is the process of the command, reads the input, hands out a few rows at a time, and writes every
outcome into the journal as soon as it arrives. A node that fails therefore loses only the requests
in flight, whose rows are handed out again. If rate or budget are limited, an actor on the driver's
node leases them to the workers.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

from phi2sdk.bulk.rows import Row
from phi2sdk.bulk.worker import Question, Worker
from phi2sdk.client.limits import Gate, Limiter, Purse
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.measure.answers import Answer
from phi2sdk.transport.endpoint import is_loopback

BATCH_S = 0.01
"""Seconds for which outcomes are collected, so that a worker needs fewer messages."""
IDLE_S = 1.0
"""Longest time of one exchange without an outcome, in seconds."""
MOST_DEATHS = 3
"""Workers of one place that may end one after the other without an outcome."""


@dataclass(frozen=True, slots=True)
class Job:
    """The work of every worker. It contains no keys: each node has them in its environment.

    Attributes:
        targets: In the order in which they are tried.
        question: What is asked about each text.
        concurrency: Largest number of requests in flight of a worker.
        rate: Largest number of calls per second of all workers.
        usd: Largest cost of all calls in US dollars.
    """

    targets: Sequence[Target]
    question: Question
    concurrency: int
    rate: float | None = None
    usd: float | None = None


class _Place(NamedTuple):
    """Room for one worker: a node, and a number on that node."""

    node: str
    number: int


class Cluster:
    """The workers of a run, and the rows that they have.

    Args:
        address: ``local`` for a cluster on this machine that listens on loopback only, ``auto``
            for the running cluster of this machine, or the address of a cluster.
        job: The work of the workers.
        sent: Called with a row before it is handed out.
        took: Receives each row with its outcome; ``None`` if the budget did not cover it.
        lost: Receives the rows that a worker had when it ended.
        stopped: Whether no further row is handed out.
    """

    def __init__(
        self,
        address: str,
        job: Job,
        *,
        sent: Callable[[Row], None],
        took: Callable[[Row, Answer | None], None],
        lost: Callable[[Sequence[Row]], None],
        stopped: Callable[[], bool],
    ) -> None:
        # The confirmations of a configuration file are those of the driver's user.
        self._job = replace(job, targets=[replace(target, file=None) for target in job.targets])
        self._sent, self._took, self._lost, self._stopped = sent, took, lost, stopped
        self._back: deque[Row] = deque()
        self._deaths: Counter[_Place] = Counter()
        self._on_gpus = False
        self._ray, self._owned = _connected(address)

    async def run(self, rows: Iterator[Row]) -> None:
        """Answer rows until none is left, on the nodes that there are at each time.

        Raises:
            ConfigurationError: The workers cannot start.
        """
        limiter = self._limiter()
        driving: dict[_Place, asyncio.Task[None]] = {}
        try:
            while True:
                if self._more(rows):
                    for place in await asyncio.to_thread(self._places):
                        if place not in driving:
                            work = self._drive(place, rows, limiter)
                            driving[place] = asyncio.create_task(work)
                elif not driving:
                    return
                if not driving:  # no node has room
                    await asyncio.sleep(IDLE_S)
                    continue
                await asyncio.wait(
                    driving.values(), timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED
                )
                for place in [place for place, task in driving.items() if task.done()]:
                    driving.pop(place).result()
        finally:
            for task in driving.values():
                task.cancel()
            await asyncio.gather(*driving.values(), return_exceptions=True)

    def close(self) -> None:
        """End the cluster, or the connection to it, if this object began it."""
        if self._owned:
            self._ray.shutdown()

    async def _drive(self, place: _Place, rows: Iterator[Row], limiter: Any) -> None:
        """Give rows to one worker, and take its outcomes, until no row is left or it ends."""
        from ray.exceptions import RayError, RayTaskError

        has: dict[int, Row] = {}
        most = self._job.concurrency + self._job.concurrency // 4  # some wait while others are sent
        gpus = {"num_gpus": 1} if self._on_gpus else {}
        worker = self._started(_Sender, place.node, self._job, limiter, num_cpus=1, **gpus)
        try:
            await worker.open.remote()  # rows are only handed to a worker that has started
            while True:
                given = list(islice(self._rest(rows), most - len(has)))
                for row in given:
                    self._sent(row)
                    has[row.n] = row
                if not has:
                    await worker.close.remote()
                    return
                for n, answer in await worker.exchange.remote(given):
                    self._deaths.pop(place, None)
                    self._took(has.pop(n), answer)
        except RayTaskError as error:
            if isinstance(error.cause, Phi2Error):
                raise error.cause from None
            raise
        except RayError as error:
            if has:
                self._lost(list(has.values()))
                self._back.extend(has.values())
            self._deaths[place] += 1
            if self._deaths[place] >= MOST_DEATHS:
                raise ConfigurationError(
                    f"{MOST_DEATHS} workers on a node of the cluster ended before they answered a "
                    f"row ({type(error).__name__}). Check that phi2sdk is installed on every node"
                ) from error
        finally:
            self._ray.kill(worker)

    def _rest(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Yield the rows that were given back, then the others."""
        while self._back and not self._stopped():
            yield self._back.popleft()
        for row in rows:  # noqa: UP028 - `yield from` would close the rows with this generator
            yield row

    def _more(self, rows: Iterator[Row]) -> bool:
        """Return whether a row is left."""
        self._back.extend(islice(self._rest(rows), 1))
        return bool(self._back) and not self._stopped()

    def _places(self) -> list[_Place]:
        """Return a place for each GPU if a target is local, else for each node."""
        alive = {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}
        gpus = {node: int(has.get("GPU", 0)) for node, has in alive.items()}
        self._on_gpus = any(gpus.values()) and any(t.backend == "local" for t in self._job.targets)
        room = gpus if self._on_gpus else {node: 1 for node, has in alive.items() if has.get("CPU")}
        return [_Place(node, number) for node, count in room.items() for number in range(count)]

    def _started(self, kind: type, node: str, *arguments: Any, **options: Any) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        strategy = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        actor = self._ray.remote(kind).options(scheduling_strategy=strategy, **options)
        return actor.remote(*arguments)

    def _limiter(self) -> Any:
        """Return the actor that leases rate and budget; ``None`` if neither is limited."""
        if self._job.rate is None and self._job.usd is None:
            return None
        node = self._ray.get_runtime_context().get_node_id()
        return self._started(Limiter, node, self._job.rate, self._job.usd, num_cpus=0)


class _Sender:
    """Sends requests on one node; a Ray actor.

    Args:
        job: The work.
        limiter: The actor that leases rate and budget, if they are limited.
    """

    def __init__(self, job: Job, limiter: Any) -> None:
        self._job = job
        self._limiter = limiter
        self._worker: Worker | None = None
        self._rows: asyncio.Queue[Row] = asyncio.Queue()
        self._outcomes: list[tuple[int, Answer | None]] = []
        self._changed = asyncio.Event()
        self._lanes: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Open the targets in the environment of this node."""
        limiter, job = self._limiter, self._job

        async def calls(wanted: int) -> tuple[float, int, float]:
            granted: tuple[float, int, float] = await limiter.calls.remote(wanted)
            return granted

        async def dollars(wanted: float) -> float:
            granted: float = await limiter.dollars.remote(wanted)
            return granted

        purse = None if job.usd is None else Purse(0.0)
        gate = Gate(calls=None if job.rate is None else calls, dollars=dollars, purse=purse)
        self._worker = Worker(
            job.targets, job.question, gate=gate, purse=purse, sent=lambda n: None
        )

    async def exchange(self, rows: Iterable[Row]) -> list[tuple[int, Answer | None]]:
        """Take rows, and return the outcomes since the last exchange; wait for the first one."""
        assert self._worker is not None, "open comes first"
        for row in rows:
            self._rows.put_nowait(row)
        while len(self._lanes) < self._job.concurrency:
            self._lanes.append(asyncio.create_task(self._lane(self._worker)))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), IDLE_S)
            await asyncio.sleep(BATCH_S)
        for lane in self._lanes:
            if lane.done():
                lane.result()
        self._changed.clear()
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    async def close(self) -> None:
        """Close the connections, and return what was granted and not spent."""
        for lane in self._lanes:
            lane.cancel()
        if self._worker is not None:
            await self._worker.client.close()
            purse = self._worker.client.spending
            if purse is not None:
                await self._limiter.give_back.remote(purse.left)

    async def _lane(self, worker: Worker) -> None:
        try:
            while True:
                row = await self._rows.get()
                answer = await worker.answer(
                    row
                )  # before the list is read, which exchange replaces
                self._outcomes.append((row.n, answer))
                self._changed.set()
        finally:
            self._changed.set()


def _connected(address: str) -> tuple[Any, bool]:
    """Return the package ray, connected to a cluster, and whether this call connected it.

    Raises:
        ConfigurationError: Ray is not installed, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == "local" or is_loopback(address.rpartition(":")[0]):
        # Otherwise Ray replaces loopback by the address of the host, and listens there. It reads
        # this variable when it is imported, and on Linux it has no other effect.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError as error:
        raise ConfigurationError(
            "a cluster needs ray, which is not installed. Install it with: python -m pip install "
            "'phi2sdk[ray]'"
        ) from error
    if ray.is_initialized():
        return ray, False
    options = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"the Ray cluster {address} cannot be reached ({error}). Start it with `ray start`, or "
            "use local"
        ) from error
    return ray, True
