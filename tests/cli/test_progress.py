"""The progress of a run, on a terminal and in a log."""

from __future__ import annotations

import io
import re

from rich.console import Console

from phi2sdk.cli.progress import LINE_EVERY, Board, Lines, Live, Planned, live
from phi2sdk.completion import Count, Usage
from phi2sdk.measure.records import Key, Record
from phi2sdk.pricing import resolve

PRICE = resolve(
    {"model": "hourly", "usd": 3.6, "source": "a page", "date": "2026-11-01"},
)
SECOND = 10**9


def record(target: str, begin: float, end: float, *, tokens: int = 10, ok: bool = True) -> Record:
    return Record(
        key=Key("greedy", target, "p", 0),
        session=0,
        outcome="ok" if ok else "error",
        t_scheduled_ns=0,
        t_send_ns=int(begin * SECOND),
        t_close_ns=int(end * SECOND),
        usage=Usage(output_billed=Count(tokens)),
    )


def terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def shown(board: Live, console: Console) -> list[str]:
    with console.capture() as capture:
        console.print(board.bars.get_renderable())
    return capture.get().splitlines()


def test_a_terminal_has_a_bar_for_each_target_within_80_columns() -> None:
    console = terminal()
    names = ("azure", "a_target_with_a_very_long_name_indeed", "free")
    board = Live({n: Planned(1000, 0, PRICE if n != "free" else None) for n in names}, console)
    for n in range(12):
        for name in names:
            board.record(record(name, n, n + 1, ok=n > 3 or name == "free"))
    lines = shown(board, console)
    assert len(lines) == 3
    assert all(len(line) <= 80 for line in lines)
    assert re.search(r"^azure .* 12/1000 4 failed +7 tok/s \$0.0120", lines[0]), lines
    assert lines[1].startswith("a_target_with_a_ver…")
    assert re.search(r"12/1000 .*10 tok/s", lines[2]), lines
    assert "$" not in lines[2]
    assert "failed" not in lines[2]


def test_speed_is_over_the_time_with_a_request_in_flight() -> None:
    board = Board({"x": Planned(9)})
    for begin, end in ((0, 2), (1, 3), (10, 11), (9, 12), (2.5, 12.5), (20, 21)):
        board.record(record("x", begin, end))
    count = board.counts["x"]
    assert count.busy_ns == int(13.5 * SECOND)
    assert count.speed == 60 / 13.5


def test_a_resumed_run_continues_its_count_and_an_open_one_has_no_end() -> None:
    console = terminal()
    board = Live({"x": Planned(4, done=6), "y": Planned(None)}, console)
    for name in ("x", "y"):
        board.record(record(name, 0, 1))
    assert "7/10" in shown(board, console)[0]
    assert "1/?" in shown(board, console)[1]


def test_a_log_gets_a_line_now_and_then() -> None:
    time = [100.0]
    said: list[str] = []
    plan = {"azure": Planned(4, 2, PRICE), "hf": Planned(6)}
    board = Lines(plan, said.append, now=lambda: time[0])
    board.record(record("azure", 0, 1))
    assert said == []
    time[0] += LINE_EVERY
    board.record(record("hf", 0, 1, ok=False))
    board.record(record("hf", 1, 2))
    assert said == [
        "4 of 12 requests, 1 failed, $0.0010, about 60 s left (azure 3 at 10 tok/s, hf 1)"
    ]
    time[0] += 600
    board.record(record("hf", 2, 3))
    assert said[1].startswith("6 of 12 requests, 1 failed, $0.0010, about 15 min left (")
    assert len(said) == 2


def test_where_it_is_shown_depends_on_the_console() -> None:
    plan = {"x": Planned(1)}
    with live(terminal(), plan) as board:
        assert isinstance(board, Live)
    with live(Console(file=io.StringIO()), plan) as board:
        assert isinstance(board, Lines)
    quiet = Console(file=io.StringIO(), force_terminal=True, quiet=True)
    with live(quiet, plan) as board:
        board.record(record("x", 0, 1))
        assert type(board) is Board


def test_a_terminal_is_left_clean() -> None:
    console = terminal()
    with live(console, {"x": Planned(1)}) as board:
        board.record(record("x", 0, 1))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().endswith(("\x1b[2K", "\x1b[?25h", "\r"))
