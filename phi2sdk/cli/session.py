"""One session of a run with a journal: progress, Ctrl-C, and the command that continues the run."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from phi2sdk.cli.progress import LINE_EVERY, duration, usd_so_far

if TYPE_CHECKING:
    from rich.console import Console

    from phi2sdk.measure.answers import State

Result = TypeVar("Result", covariant=True)


class Run(Protocol[Result]):
    """The part of a run that a session needs."""

    def stop(self) -> None: ...

    async def send(self, progress: Callable[[State], None] | None = None) -> Result: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


async def session(run: Run[Result], rows: int, say: Console, unit: str) -> Result | None:
    """Return the result of a run; ``None`` if the requests in flight were abandoned.

    Args:
        run: The run, which is closed at the end.
        rows: Number of rows to ask.
        say: The console for progress.
        unit: What a row is, in the plural, such as ``rows``.
    """
    async with run:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        pressed = False

        def interrupt() -> None:
            nonlocal pressed
            if pressed:
                task.cancel()
                return
            pressed = True
            run.stop()
            say.print(
                f"Stopping: no further {unit} are sent. Waiting for the requests in flight; press "
                "Ctrl-C again to abandon them."
            )

        with suppress(NotImplementedError, ValueError, RuntimeError):
            for name in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(name, interrupt)
        with suppress(asyncio.CancelledError), _progress(say, rows, unit) as show:
            return await run.send(show)
        return None


def command_to_resume(*, resume: bool) -> str:
    """Return the command that continues the run: the same one, with ``--resume``."""
    words = ["phi2", *sys.argv[1:], *(() if resume else ("--resume",))]
    return shlex.join(words)


@contextmanager
def _progress(say: Console, rows: int, unit: str) -> Iterator[Callable[[State], None]]:
    """Show a bar on a terminal, or print a line every 15 seconds in a log."""
    begun = printed = monotonic()
    if say.is_terminal and not say.quiet:
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (BarColumn(bar_width=None), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=say, transient=True, auto_refresh=False) as bar:
            shown = bar.add_task("", total=rows)

            def draw(state: State) -> None:
                line = _line(state, rows, unit, monotonic() - begun)
                bar.update(shown, completed=state.recorded, description=line, refresh=True)

            yield draw
        return

    def log(state: State) -> None:
        nonlocal printed
        if monotonic() - printed >= LINE_EVERY:
            printed = monotonic()
            say.print(_line(state, rows, unit, printed - begun))

    yield log


def _line(state: State, rows: int, unit: str, seconds: float) -> str:
    """Return the progress of a session in one line."""
    rate = state.recorded / max(seconds, 0.1)
    parts = [f"{state.recorded:,} of {rows:,} {unit}"]
    parts += [f"{state.failed:,} failed"] * bool(state.failed)
    parts += [f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"] * bool(rate)
    parts += [usd_so_far(state.usd)] * (state.usd is not None)
    parts += [f"about {duration((rows - state.recorded) / rate)} left"] * bool(rate)
    return ", ".join(parts)
