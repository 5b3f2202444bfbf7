"""Send the requests of lanes when they are due, and record their outcomes in the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from time import perf_counter_ns

from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.client.budget import Hold
from phi2sdk.completion import Completion, Request, Retrying
from phi2sdk.errors import Phi2Error
from phi2sdk.fold import Fold
from phi2sdk.measure.journal import Journal
from phi2sdk.measure.records import Key, Record
from phi2sdk.measure.run_budget import RunBudget
from phi2sdk.measure.schedule import Due, Endless, Lane

Progress = Callable[[Record], None]

STAGGER_S = 0.0037
"""Time between the starts of two workers; it does not divide the round pacing times of servers."""


@dataclass(slots=True)
class Runner:
    """Runs a plan with clients.

    Attributes:
        clients: The clients by target name.
        request: Creates the request of a key.
        journal: The journal for all events.
        progress: Receives each record.
        epoch_ns: ``perf_counter_ns`` at the start of the session.
        gate: Admits each request within a budget, if there is one. After it refuses one, requests
            in flight are completed, and no request is started.
    """

    clients: Mapping[str, AsyncPhi2Client]
    request: Callable[[Key], Request]
    journal: Journal
    progress: Progress
    epoch_ns: int
    gate: RunBudget | None = None
    _shut: bool = field(default=False, init=False)

    async def run(self, lanes: Iterable[Lane | Endless]) -> None:
        """Send all requests, and return when all have ended.

        Cancelling this coroutine cancels the requests in flight, which then have no record.

        Raises:
            ConfigurationError: The journal cannot be written.
        """
        start_ns = perf_counter_ns()
        try:
            async with asyncio.TaskGroup() as group:
                for lane in lanes:
                    if isinstance(lane, Endless):
                        until_ns = start_ns + round(lane.seconds * 1e9)
                        waiting, width = _until(until_ns, lane.dues()), lane.width
                    elif lane.width is None:
                        group.create_task(self._open_lane(lane, start_ns))
                        continue
                    else:
                        waiting, width = iter(lane.dues), min(lane.width, len(lane.dues))
                    for place in range(width):
                        group.create_task(self._worker(waiting, place * STAGGER_S))
        except ExceptionGroup as several:
            first: Exception = several
            while isinstance(first, ExceptionGroup):
                first = first.exceptions[0]
            raise first from several

    async def _worker(self, waiting: Iterator[Due], delay: float) -> None:
        """Send the requests of a closed lane, each when the preceding one has ended.

        Workers start one after the other. If they started together and all answers took equally
        long, they would always send together: bursts instead of the specified load.
        """
        await asyncio.sleep(delay)
        for due in waiting:
            await self._ask(due.key, perf_counter_ns())
            if self._shut:
                return

    async def _open_lane(self, lane: Lane, start_ns: int) -> None:
        """Send each request at its time, independent of the earlier ones."""
        async with asyncio.TaskGroup() as group:
            for due in lane.dues:
                assert due.at is not None
                due_ns = start_ns + round(due.at * 1e9)
                if (left_ns := due_ns - perf_counter_ns()) > 0:
                    await asyncio.sleep(left_ns / 1e9)
                if self._shut:
                    return
                group.create_task(self._ask(due.key, due_ns))

    async def _ask(self, key: Key, t_scheduled_ns: int) -> None:
        hold: Hold | None = None
        if self.gate is not None:
            hold = self.gate.admit(key)
            if hold is None:
                self._shut = True
                return
        request = self.request(key)
        account = Fold(request)
        self.journal.intent(key)
        noted = 0
        result: Completion | Phi2Error
        try:
            async with aclosing(self.clients[key.target].events(request)) as events:
                async for event in events:
                    account.take(event)
                    if isinstance(event, Retrying):
                        noted = self._note_attempts(key, account, noted)
            result = account.completion()
        except Phi2Error as error:
            account.fail(error, perf_counter_ns())
            result = error
        t_close_ns = perf_counter_ns()
        self._note_attempts(key, account, noted)
        record = Record.of(
            key,
            account,
            result,
            session=self.journal.session,
            epoch_ns=self.epoch_ns,
            t_scheduled_ns=t_scheduled_ns,
            t_close_ns=t_close_ns,
        )
        self.journal.done(record)
        if self.gate is not None and hold is not None:
            self.gate.settle(hold, record)
        self.progress(record)

    def _note_attempts(self, key: Key, account: Fold, noted: int) -> int:
        """Write down the calls that have ended since; how many there are now."""
        for number, attempt in enumerate(account.attempts[noted:], noted + 1):
            self.journal.attempt(key, number, attempt, self.epoch_ns)
        return len(account.attempts)


def _until(time_ns: int, dues: Iterator[Due]) -> Iterator[Due]:
    """The dues that are asked for before a time."""
    while perf_counter_ns() < time_ns:
        yield next(dues)
