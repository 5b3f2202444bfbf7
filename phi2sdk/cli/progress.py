"""The progress of a run: bars on a terminal, a line every 15 seconds in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from phi2sdk.measure.records import Record
from phi2sdk.pricing.price import Price

LINE_EVERY = 15.0
"""The number of seconds between two lines without a terminal."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The requests that are planned for one target.

    Attributes:
        left: Requests to make; ``None``: as many as the run's time allows.
        done: Requests that an earlier session made.
        price: Of the target, if it is known.
    """

    left: int | None
    done: int = 0
    price: Price | None = None


@dataclass(slots=True)
class _Count:
    """The requests of one target in this session."""

    plan: Planned
    answered: int = 0
    failed: int = 0
    tokens: int = 0
    usd: float | None = None
    busy_ns: int = 0
    _spans: list[tuple[int, int]] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.plan.done + self.answered

    @property
    def total(self) -> int | None:
        return None if self.plan.left is None else self.plan.left + self.plan.done

    @property
    def speed(self) -> float | None:
        """Output tokens per second of the time with a request in flight."""
        return self.tokens / (self.busy_ns / 1e9) if self.tokens and self.busy_ns else None

    def take(self, record: Record) -> None:
        self.answered += 1
        self.failed += not record.ok
        if record.t_send_ns is None:
            return
        self._occupied(record.t_send_ns, record.t_close_ns)
        if record.ok and record.usage.output_billed is not None:
            self.tokens += record.usage.output_billed.value
        if self.plan.price is not None:
            seconds = (record.t_close_ns - record.t_send_ns) / 1e9
            cost = self.plan.price.cost(record.usage, seconds)
            if cost is not None:
                self.usd = (self.usd or 0.0) + cost.usd

    def _occupied(self, begin: int, end: int) -> None:
        """Add a span of time. Spans arrive in the order of their ends, and may overlap."""
        while self._spans and self._spans[-1][1] >= begin:
            first, last = self._spans.pop()
            self.busy_ns -= last - first
            begin, end = min(begin, first), max(end, last)
        self._spans.append((begin, end))
        self.busy_ns += end - begin


class Board:
    """Counts the completed requests of each target.

    Cost and tokens are those of this session, without retries and failures, which the report adds.

    Args:
        planned: The plan of each target, in the order in which the targets are shown.
    """

    def __init__(self, planned: Mapping[str, Planned]) -> None:
        self.counts = {name: _Count(plan) for name, plan in planned.items()}

    def begin(self, total: int | None, done: int) -> None:
        """Receive the start of the run."""

    def record(self, record: Record) -> None:
        """Count a completed request."""
        name = record.key.target
        self.counts.setdefault(name, _Count(Planned(None))).take(record)
        self.changed(name)

    def changed(self, name: str) -> None:
        """Show that the count of a target has changed."""


class Live(Board):
    """A bar for each target, redrawn only twice per second, because redrawing delays requests."""

    def __init__(self, planned: Mapping[str, Planned], console: Console) -> None:
        super().__init__(planned)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("[red]{task.fields[failed]}"),
            TextColumn("{task.fields[speed]}", justify="right"),
            TextColumn("{task.fields[usd]}", justify="right"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            refresh_per_second=2,
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}
        for name in self.counts:
            self.changed(name)

    def changed(self, name: str) -> None:
        count = self.counts[name]
        fields: dict[str, Any] = {
            "failed": f"{count.failed} failed" if count.failed else "",
            "speed": "" if count.speed is None else f"{count.speed:.0f} tok/s",
            "usd": usd_so_far(count.usd),
        }
        if name not in self._tasks:
            shown = name if len(name) <= 20 else f"{name[:19]}…"
            self._tasks[name] = self.bars.add_task(shown, total=count.total, **fields)
        self.bars.update(self._tasks[name], completed=count.done, total=count.total, **fields)


class Lines(Board):
    """A line at most every :data:`LINE_EVERY` seconds, for a log.

    Args:
        planned: As for :class:`Board`.
        say: Takes a line.
        now: The clock, in seconds.
    """

    def __init__(
        self,
        planned: Mapping[str, Planned],
        say: Callable[[str], None],
        now: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(planned)
        self._say = say
        self._now = now
        self._began = self._last = now()

    def changed(self, name: str) -> None:
        if (now := self._now()) - self._last < LINE_EVERY:
            return
        self._last = now
        self._say(self.line(now - self._began))

    def line(self, elapsed: float) -> str:
        """Return the progress in one line.

        Args:
            elapsed: Seconds since the session began.
        """
        counts = self.counts.values()
        done, failed = (sum(getattr(c, name) for c in counts) for name in ("done", "failed"))
        totals = [c.total for c in counts]
        known = sum(t for t in totals if t is not None) if None not in totals else None
        usd = [c.usd for c in counts if c.usd is not None]
        parts = [f"{done} of {known} requests" if known is not None else f"{done} requests"]
        parts += [f"{failed} failed"] * bool(failed)
        parts += [usd_so_far(sum(usd))] * bool(usd)
        answered = sum(c.answered for c in counts)
        if known is not None and answered:
            parts.append(f"about {duration(elapsed * (known - done) / answered)} left")
        each = ", ".join(
            f"{name} {count.done}" + (f" at {count.speed:.0f} tok/s" if count.speed else "")
            for name, count in self.counts.items()
        )
        return f"{', '.join(parts)} ({each})"


@contextmanager
def live(console: Console, planned: Mapping[str, Planned]) -> Iterator[Board]:
    """Show progress on ``console`` while the block runs; a quiet console shows nothing."""
    if console.quiet:
        yield Board(planned)
    elif console.is_terminal:
        board = Live(planned, console)
        with board.bars:
            yield board
    else:
        yield Lines(planned, console.print)


def usd_so_far(usd: float | None) -> str:
    """Return the cost so far for a line of progress; empty if it is unknown."""
    return "" if usd is None else f"${usd:.4f}" if usd < 100 else f"${usd:,.0f}"


def duration(seconds: float) -> str:
    """Return a duration in seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
