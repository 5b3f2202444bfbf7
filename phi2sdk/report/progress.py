"""How a run goes on, live on a terminal; silent elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from phi2sdk.measure.records import Record

__all__ = ["Live", "live"]


@dataclass(slots=True)
class Live:
    """Counts records, and failures among them."""

    bar: Progress
    task: TaskID
    failed: int = 0

    def begin(self, total: int | None, done: int) -> None:
        """The run has ``total`` requests, ``done`` of them from an earlier session."""
        self.bar.update(self.task, total=total, completed=done)

    def record(self, record: Record) -> None:
        """One more has its record."""
        self.failed += not record.ok
        failed = f"{self.failed} failed" if self.failed else ""
        self.bar.update(self.task, advance=1, target=record.key.target, failed=failed)


@contextmanager
def live(console: Console) -> Iterator[Live]:
    """A progress bar while the block runs, redrawn four times a second."""
    with Progress(
        TextColumn("{task.fields[target]:<15}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failed]}"),
        console=console,
        transient=True,
        refresh_per_second=4,
        disable=not console.is_terminal or console.quiet,
    ) as bar:
        yield Live(bar, bar.add_task("", total=None, target="", failed=""))
