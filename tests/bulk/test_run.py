"""A bulk run in one process: output, resumption, budget, rate, and what stops it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from phi2sdk.bulk import BulkResult, BulkRun, Estimate, Question, bulk
from phi2sdk.bulk.output import COLUMNS
from phi2sdk.config import Target
from phi2sdk.emulator import Fault
from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.measure.answers import AnswerJournal
from phi2sdk.sampling import Sampling
from phi2sdk.testing import Phi2Emulator
from tests.bulk.conftest import read_jsonl, rows_of, write_jsonl

Counts = Callable[[], Counter[str]]
SHORT = Question(sampling=Sampling(max_tokens=8))


async def test_each_id_has_one_row_in_the_order_of_the_input(
    far: Target, tmp_path: Path, times_called: Counts
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(40))
    result = await bulk(path, tmp_path / "out", far, question=SHORT, concurrency=7)
    found = read_jsonl(result.output)
    assert [row["id"] for row in found] == [f"row-{i}" for i in range(40)]
    assert [row["text"] for row in found] == [f"Summary {i}" for i in range(40)]
    assert set(times_called().values()) == {1}
    first = dict(found[0])
    assert list(first) == list(COLUMNS)
    assert (first["target"], first["attempts"], first["error"]) == ("far", 1, None)
    usd = (first["input_tokens"] * 1.0 + first["output_tokens"] * 2.0) / 1e6  # type: ignore[operator]
    assert first["cost_usd"] == pytest.approx(usd)
    assert result == BulkResult(result.output, 40, 40, 0, 40, 0, result.usd)
    assert result.usd == pytest.approx(sum(float(str(row["cost_usd"])) for row in found))


async def test_parquet_in_is_parquet_out_with_the_same_rows(far: Target, tmp_path: Path) -> None:
    rows = rows_of(5)
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "in.parquet")
    result = await bulk(tmp_path / "in.parquet", tmp_path / "a", far, question=SHORT)
    found = parquet.read_table(tmp_path / "a" / "output.parquet")
    assert {field.name: str(field.type) for field in found.schema} == {
        name: kind.replace("float64", "double") for name, kind in COLUMNS.items()
    }
    write_jsonl(tmp_path / "in.jsonl", rows)
    other = await bulk(tmp_path / "in.jsonl", tmp_path / "b", far, question=SHORT)
    assert found.to_pylist() == read_jsonl(other.output)
    assert result.output == tmp_path / "a" / "output.parquet"


async def test_the_prompt_is_that_of_the_task(
    far: Target, tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(1))
    asked = replace(SHORT, task="prompt", format="qa")
    for name, question in (("a", SHORT), ("b", asked)):
        await bulk(path, tmp_path / name, far, question=question)
    text = rows_of(1)[0]["text"]
    sent = [call.prompt for call in phi2_emulator.openai.calls if call.prompt]
    assert sent == [
        f"Instruct: Summarize the following paragraph in one sentence.\n{text}\nOutput:",
        text,
    ]


async def test_an_error_is_a_row_and_is_tried_again_on_resume(
    far: Target, tmp_path: Path, phi2_emulator: Phi2Emulator, times_called: Counts
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(3))
    phi2_emulator.openai.faults.push(Fault("status", status=400, body={"error": "no\x1b[31m"}))
    first = await bulk(path, tmp_path / "out", far, question=SHORT, concurrency=1)
    failed, *others = read_jsonl(first.output)
    assert (first.answered, first.failed) == (2, 1)
    assert str(failed["error"]).startswith("InvalidRequest: ")
    assert "\x1b" not in str(failed["error"])
    assert (failed["text"], failed["cost_usd"], failed["attempts"]) == (None, None, 1)
    assert all(row["error"] is None for row in others)
    again = await bulk(path, tmp_path / "out", far, question=SHORT, resume=True)
    assert (again.answered, again.failed, again.calls) == (3, 0, 4)
    assert [row["id"] for row in read_jsonl(again.output)] == ["row-0", "row-1", "row-2"]
    assert times_called() == {"0": 2, "1": 1, "2": 1}


async def test_several_targets_are_tried_in_order(
    far: Target, tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    settings = {"endpoint": phi2_emulator.hf.url, "token": far.settings["api_key"]}
    near = Target("near", "hf", settings, attempts=1)
    phi2_emulator.hf.faults.push(Fault("status", status=503), times=1)
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(2))
    result = await bulk(path, tmp_path / "out", [near, far], question=SHORT, concurrency=1)
    found = read_jsonl(result.output)
    assert [(row["target"], row["attempts"]) for row in found] == [("far", 2), ("near", 1)]


async def test_the_estimate_comes_before_any_call(
    far: Target, tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(100))
    seen: list[Estimate] = []

    def refuse(estimate: Estimate) -> None:
        seen.append(estimate)
        raise ConfigurationError("no")

    with pytest.raises(ConfigurationError, match="no"):
        await bulk(path, tmp_path / "out", far, question=SHORT, agree=refuse)
    assert phi2_emulator.calls == []
    assert list((tmp_path / "out").iterdir()) == []
    size = sum(len(SHORT.prompt(str(row["text"])).text) for row in rows_of(100))
    assert (seen[0].rows, seen[0].output_tokens) == (100, 800)
    assert seen[0].input_tokens == pytest.approx(size / 4, abs=1)
    assert seen[0].usd == pytest.approx((size / 4 + 2 * 800) / 1e6, abs=1e-5)
    assert seen[0].most_usd == pytest.approx((size + 8 * 100 + 2 * 800) / 1e6)


async def test_the_budget_stops_the_run_and_a_larger_one_continues_it(
    far: Target, tmp_path: Path, phi2_emulator: Phi2Emulator, times_called: Counts
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(60))
    meter = phi2_emulator.openai.meter

    def metered() -> float:
        return (meter.prompt_tokens * 1.0 + meter.completion_tokens * 2.0) / 1e6

    out, cap = tmp_path / "out", 0.001
    first = await bulk(path, out, far, question=SHORT, budget_usd=cap, concurrency=8)
    assert (first.stopped, first.output) == ("budget", None)
    assert 0.8 * cap < metered() <= cap
    again = await bulk(path, out, far, question=SHORT, budget_usd=1.0, resume=True)
    assert (again.stopped, again.answered) == (None, 60)
    assert set(times_called().values()) == {1}
    await bulk(path, tmp_path / "b", far, question=SHORT)
    with pytest.raises(ConfigurationError, match="session without a budget"):
        await bulk(path, tmp_path / "b", far, question=SHORT, budget_usd=1.0, resume=True)


async def test_calls_are_spaced_by_the_rate_also_for_retries(
    far: Target, tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(25))
    again = {"Retry-After": "0"}
    phi2_emulator.openai.faults.push(Fault("status", status=429, headers=again), times=5)
    await bulk(path, tmp_path / "out", far, question=SHORT, rate=100, concurrency=20)
    calls = [call for call in phi2_emulator.openai.calls if call.method == "POST"]
    assert len(calls) == 30
    assert (calls[-1].t_received_ns - calls[0].t_received_ns) / 1e9 >= 0.9 * 29 / 100


async def test_a_run_stops_when_the_provider_fails_again_and_again(
    far: Target, tmp_path: Path, phi2_emulator: Phi2Emulator, times_called: Counts
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(300))
    phi2_emulator.openai.faults.push(Fault("status", status=404), times=1000)
    result = await bulk(path, tmp_path / "out", far, question=SHORT, concurrency=4)
    assert (result.stopped, result.output) == ("failures", None)
    assert str(result.error).startswith("ModelNotFound: ")
    assert 100 <= sum(times_called().values()) <= 104
    phi2_emulator.openai.faults.clear()
    again = await bulk(path, tmp_path / "out", far, question=SHORT, resume=True)
    assert (again.stopped, again.answered, again.failed) == (None, 300, 0)


async def test_errors_of_the_rows_themselves_do_not_stop_a_run(
    far: Target, tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(150))
    phi2_emulator.openai.faults.push(Fault("status", status=400), times=150)
    result = await bulk(path, tmp_path / "out", far, question=SHORT)
    assert (result.stopped, result.failed, len(read_jsonl(result.output))) == (None, 150, 150)


async def test_a_stopped_run_completes_what_is_in_flight(
    far: Target, tmp_path: Path, phi2_emulator: Phi2Emulator, times_called: Counts
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(30))
    phi2_emulator.openai.faults.push(Fault("delay", seconds=0.3), times=5)
    run = BulkRun(input=path, out=tmp_path / "out", targets=[far], question=SHORT, concurrency=5)
    async with run:
        run.prepare()
        sending = asyncio.create_task(run.send())
        await asyncio.to_thread(phi2_emulator.openai.calls.wait_for, 6)  # one is the check
        run.stop()
        result = await sending
    assert (result.stopped, result.answered, result.output) == ("interrupted", 5, None)
    again = await bulk(path, tmp_path / "out", far, question=SHORT, resume=True)
    assert (again.answered, again.again) == (30, 0)
    assert set(times_called().values()) == {1}


async def test_abandoned_requests_are_sent_again_and_counted(
    far: Target, tmp_path: Path, phi2_emulator: Phi2Emulator, times_called: Counts
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(20))
    phi2_emulator.openai.faults.push(Fault("hang"), times=3)
    sending = asyncio.create_task(
        bulk(path, tmp_path / "out", far, question=SHORT, concurrency=3, budget_usd=1.0)
    )
    await asyncio.to_thread(phi2_emulator.openai.calls.wait_for, 4)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    seen: list[Estimate] = []
    result = await bulk(
        path,
        tmp_path / "out",
        far,
        question=SHORT,
        resume=True,
        budget_usd=1.0,
        agree=seen.append,
    )
    assert (result.answered, result.again) == (20, 3)
    assert sorted(times_called().values()) == [1] * 17 + [2] * 3
    most = max(len(SHORT.prompt(str(row["text"])).text) for row in rows_of(3)) + 8 + 2 * 8
    assert seen[0].before_usd == pytest.approx(3 * most / 1e6, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": replace(SHORT, task="prompt")}, "another configuration: .*task"),
        ({"column": "id"}, "another configuration: column"),
        ({"target": "other"}, "another configuration: targets"),
        ({"rows": 4}, "the input is not that of the run .* 4 rows, and had 3"),
        ({"resume": False}, "already has a bulk run. Continue it with --resume"),
        ({"out": "empty"}, "has no bulk run. Start one without --resume"),
        ({"concurrency": 0}, "must be at least 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_run_is_resumed_only_with_its_input_and_configuration(
    change: dict[str, Any], message: str, far: Target, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(3))
    await bulk(path, tmp_path / "out", far, question=SHORT)
    options: dict[str, Any] = {"question": SHORT, "resume": True, **change}
    write_jsonl(path, rows_of(options.pop("rows", 3)))
    target = replace(far, name=options.pop("target", far.name))
    with pytest.raises(ConfigurationError, match=message):
        await bulk(path, tmp_path / options.pop("out", "out"), target, **options)


async def test_a_damaged_bulk_json_is_refused(far: Target, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(3))
    await bulk(path, tmp_path / "out", far, question=SHORT)
    for damaged in ("{}", "[]", "{"):
        (tmp_path / "out" / "bulk.json").write_text(damaged)
        with pytest.raises(ConfigurationError, match=r"bulk.json is damaged"):
            await bulk(path, tmp_path / "out", far, question=SHORT, resume=True)


async def test_other_files_and_other_processes_are_respected(far: Target, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(3))
    with pytest.raises(ConfigurationError, match="has other files and no bulk run"):
        await bulk(path, tmp_path, far)
    (tmp_path / "out").mkdir()
    with (
        AnswerJournal(tmp_path / "out" / "journal.jsonl", 3),
        pytest.raises(ConfigurationError, match="is being written by another process"),
    ):
        await bulk(path, tmp_path / "out", far, question=SHORT)


async def test_an_input_that_changes_while_it_is_used_stops_the_run(
    far: Target, tmp_path: Path, times_called: Counts
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(3))

    def change(estimate: Estimate) -> None:
        write_jsonl(path, rows_of(4))

    with pytest.raises(ConfigurationError, match="changed while it was used"):
        await bulk(path, tmp_path / "out", far, question=SHORT, agree=change)
    assert not times_called()


@pytest.mark.parametrize("line", ['{"n": 1}', '{"n": 9, "id": "x"}', "[]", "oops", '{"x": 1}'])
def test_a_damaged_journal_is_refused_with_its_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with AnswerJournal(path, 3) as journal:
        journal.begin("2026-11-21")
        journal.sent(0)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(Phi2Error, match=r"journal.jsonl, line 3: no event of this run"):
        AnswerJournal(path, 3)


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with AnswerJournal(path, 3) as journal:
        journal.begin("2026-11-21")
        journal.sent(0)
    whole = path.read_text()
    path.write_text(whole + '{"n": 0, "id": "row')
    with AnswerJournal(path, 3) as journal:
        assert (journal.state.open, journal.state.answered) == ({0: 1}, 0)
        journal.sent(1)
    assert path.read_text() == whole + json.dumps({"sent": 1, "calls": 1}).replace(" ", "") + "\n"
