"""The comparison end to end: as a function, and on the command line."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from itertools import count
from pathlib import Path

import jsonschema
import pytest

import phi2sdk
from phi2sdk.compare import Comparison, Settings, compare
from phi2sdk.demo.targets import DEMO_TARGETS, demo_workload
from phi2sdk.errors import ConfigurationError, ContextLengthExceeded
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.measure.workload import Item, Workload
from phi2sdk.report.schema import published_schema
from phi2sdk.testing import Phi2Emulator

PARAGRAPHS = Workload("p.txt", tuple(Item(str(i), f"Paragraph {i} on tides.") for i in range(4)))
QUICK = Settings(repetitions=1, warmup=1, max_tokens=16, calibrate=False)
RUN = [
    "run.json",
    "records.jsonl",
    "report.json",
    "report.md",
    "report.html",
]


def in_process(*arguments: str, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The command's status; a process of its own would prove no more, and imports for seconds."""
    from phi2sdk.cli import compare_main

    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", ["phi2 compare", *arguments])
    with pytest.raises(SystemExit) as ended:
        compare_main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


async def test_the_demo_compares_six_honest_targets_and_two_that_are_not(tmp_path: Path) -> None:
    whole = demo_workload()
    few = Workload(whole.name, whole.items[:3], whole.task)
    report = await compare(few, out=tmp_path / "run", demo=True, settings=QUICK)
    assert tuple(report.targets) == DEMO_TARGETS
    assert report.run.reference == "local_float32"
    assert report.run.complete
    assert report.failed == 0
    for name, target in report.targets.items():
        assert target.simulated == (not name.startswith("local"))
        assert target.cost is not None, name
        assert target.cost.simulated  # every price of the demo is an example
        assert target.cost.source
        assert target.cost.date
    assert report.targets["azure"].latency.ttft is None
    for name in ("azure", "clarifai", "hf", "openai"):
        agreement = report.pairs[f"local_float32:{name}"].agreement
        assert agreement is not None
        assert agreement.exact_cut is not None
        assert agreement.exact_cut.value == 1.0  # the same weights in the same precision
    document = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads(published_schema()))
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted(RUN)


async def test_targets_of_the_environment_are_compared_by_their_backends_name(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Tides follow the moon.")
    report = await compare(PARAGRAPHS, ["hf", "openai"], out=tmp_path / "run", settings=QUICK)
    assert report.failed == 0
    assert not report.targets["hf"].simulated
    agreement = report.pairs["hf:openai"].agreement
    assert agreement is not None
    assert agreement.edit_similarity is not None
    assert agreement.edit_similarity.value == 1.0


class Busy:
    """Holds the event loop up at every record, as a machine does that is too busy."""

    def begin(self, total: int | None, done: int) -> None:
        pass

    def record(self, record: Record) -> None:
        time.sleep(0.06)


async def test_a_run_on_a_machine_that_is_too_busy_is_invalid_and_says_why(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Tides.")
    out = tmp_path / "run"
    report = await compare(PARAGRAPHS, ["openai"], out=out, settings=QUICK, progress=Busy())
    assert not report.validity.valid
    assert report.validity.sentence.startswith("INVALID: the event loop was delayed")
    page = (out / "report.md").read_text(encoding="utf-8")
    assert page.startswith("INVALID")


async def test_a_wrong_key_is_found_before_anything_is_written(
    tmp_path: Path, phi2_emulator: Phi2Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    with pytest.raises(ConfigurationError, match="target openai"):
        await compare(PARAGRAPHS, ["openai"], out=tmp_path / "run", settings=QUICK)
    assert not (tmp_path / "run").exists()


async def test_an_unreachable_host_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    with pytest.raises(ConfigurationError, match="target openai"):
        await compare(PARAGRAPHS, ["openai"], out=tmp_path / "run", settings=QUICK)
    assert not (tmp_path / "run").exists()


async def test_a_prompt_that_does_not_fit_is_named_by_its_line(tmp_path: Path) -> None:
    long = Workload("p.txt", (Item("1", "water " * 3000, line=7),))
    with pytest.raises(ContextLengthExceeded, match=r"p\.txt, line 7: .*at most 2,048"):
        await compare(long, ["local_float32"], out=tmp_path / "run", demo=True, settings=QUICK)
    assert not (tmp_path / "run").exists()


async def test_a_run_that_is_there_is_neither_overwritten_nor_mixed(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Tides.")
    out = tmp_path / "run"
    await compare(PARAGRAPHS, ["openai"], out=out, settings=QUICK)
    calls = len(phi2_emulator.openai.calls)
    with pytest.raises(ConfigurationError, match="--resume"):
        await compare(PARAGRAPHS, ["openai"], out=out, settings=QUICK)
    again = await compare(PARAGRAPHS, ["openai"], out=out, settings=QUICK, resume=True)
    assert again.run.complete
    asked = [c for c in phi2_emulator.openai.calls[calls:] if c.method == "POST"]
    assert asked == []  # nothing that is done is asked again
    other = Settings(repetitions=2, max_tokens=16, calibrate=False)
    with pytest.raises(ConfigurationError, match="repetitions: 1 -> 2"):
        await compare(PARAGRAPHS, ["openai"], out=out, settings=other, resume=True)


async def test_no_key_reaches_the_folder_of_a_run(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Tides.")
    (tmp_path / "phi2.toml").write_text(
        '[targets.mine]\nbackend = "openai"\n'
        f'base_url = "{phi2_emulator.openai.url}/v1"\n'
        'api_key = { env = "OPENAI_API_KEY" }\n'
    )
    out = tmp_path / "run"
    await compare(PARAGRAPHS, config=tmp_path / "phi2.toml", out=out, settings=QUICK)
    for file in out.iterdir():
        assert phi2_emulator.key not in file.read_text(encoding="utf-8")


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"repetitions": 0}, {"warmup": -1}, {"max_tokens": 0}, {"timeout": 0.0}):
        with pytest.raises(ConfigurationError):
            Settings(**wrong)


def test_a_reference_must_be_one_of_the_targets() -> None:
    with pytest.raises(ConfigurationError, match="reference"):
        Comparison(PARAGRAPHS, [], estimating_tokenizer(), Settings(reference="nobody"))


def test_the_demo_runs_on_a_file_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("Tides are the rise of water.\n\nThe moon moves them.\n")
    status = in_process(
        *("mine.txt", "--demo", "--out", "run", "--json", "--repeat", "1", "--max-tokens", "8"),
        *("--identity", "0"),
        *("--target", "local_float32", "--target", "openai"),
        cwd=tmp_path,
        monkeypatch=monkeypatch,
    )
    out, err = capfd.readouterr()
    document = json.loads(out)
    # On a machine too busy for it the run is invalid, and it is right to say so.
    assert status == (0 if document["validity"]["valid"] else 3), err
    assert all(t["errors"]["ok"] == 2 for t in document["targets"].values())
    jsonschema.validate(document, json.loads(published_schema()))
    assert document == json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert err == ""
    assert document["run"]["demo"]
    folder = tmp_path / "run"
    here = str(Path(phi2sdk.__file__).parent)
    for name in ("run.json", "records.jsonl", "report.json"):
        assert here not in (folder / name).read_text(encoding="utf-8")
    assert set(RUN[:4]) <= {p.name for p in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.txt", "--demo"], "no file"),
        (["latin1.txt", "--demo"], "line 1: not UTF-8"),
        (["bad.jsonl", "--demo"], "bad.jsonl, line 2: not JSON"),
        (["empty.txt", "--demo"], "empty"),
        (["fine.txt", "--target", "nobody"], "no target 'nobody'"),
        (["--target", "openai"], "there is no input"),
        (["fine.txt", "--load", "closed", "--concurrency", "0"], "concurrency"),
        (["fine.txt", "--demo", "--resume", "--out", "nope"], "nope has no run"),
        (["fine.txt", "--demo", "--out", "foreign"], "foreign has other files and no run"),
        (["fine.txt", "--demo", "--out", "fine.txt"], "fine.txt is a file"),
        (["fine.txt", "--demo", "--target", "nope"], "no target 'nope'"),
        (["fine.txt", "--demo", "--reference", "nope"], "the reference 'nope' is not compared"),
        (["fine.txt", "--demo", "--margin", "500"], "not a percentage above 0 and below 100"),
        (["fine.txt", "--demo", "--format", "poem"], "no prompt format 'poem'"),
        (["fine.txt", "--resume"], "add --output FOLDER"),
        (["fine.txt", "--max-tokens", "0"], "max_tokens"),
        (["fine.txt", "--duration", "5", "--repeat", "2"], "--repeat and --duration both"),
        (["fine.txt", "--demo", "--tokenizer", "none.json"], "no tokenizer at none.json"),
        (["fine.txt", "--demo", "--reference", "nobody"], "reference 'nobody'"),
        (["fine.txt", "--demo", "--honest", "float8"], "no precision 'float8'"),
        (["fine.txt", "--demo", "--identity-model", "./none"], "no model folder './none'"),
        (["fine.txt", "--demo", "--identity", "0", "--honest", "float32"], "--identity 100"),
        (["fine.txt", "--demo", "--identity-prompts", "none.txt"], "no file none.txt"),
        (["fine.txt", "--config", "none.toml"], "cannot be read"),
        (["--bogus"], "No such option"),
    ],
)
def test_a_mistake_ends_with_one_line_and_status_2_and_writes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "fine.txt").write_text("Tides.")
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9")
    (tmp_path / "bad.jsonl").write_text('{"text":"x"}\n{"text"\n')
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "diary.txt").write_text("mine")
    before = sorted(p.name for p in tmp_path.iterdir())
    status = in_process(*arguments, cwd=tmp_path, monkeypatch=monkeypatch)
    out, err = capfd.readouterr()
    assert status == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert "Demo:" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert [p.name for p in (tmp_path / "foreign").iterdir()] == ["diary.txt"]


def test_failed_requests_end_with_status_3_and_a_report(
    tmp_path: Path,
    phi2_emulator: Phi2Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    phi2_emulator.answers({"Tides.": "They rise."})  # the other paragraph has no answer: status 500
    (tmp_path / "two.txt").write_text("Tides.\n\nMountains.\n")
    (tmp_path / "phi2.toml").write_text(
        '[targets.mine]\nbackend = "openai"\nattempts = 1\n'
        f'base_url = "{phi2_emulator.openai.url}/v1"\napi_key = {{ env = "OPENAI_API_KEY" }}\n'
    )
    arguments = ("two.txt", "--out", "run", "--repeat", "1", "--warmup", "0")
    assert in_process(*arguments, cwd=tmp_path, monkeypatch=monkeypatch) == 3
    assert "Failed requests: mine 1 of 2 (" in capfd.readouterr().out
    assert (tmp_path / "run" / "report.md").exists()


async def test_ctrl_c_ends_cleanly_and_the_run_can_be_resumed(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    from phi2sdk.emulator import Schedule

    loop, eighth, asked = asyncio.get_running_loop(), asyncio.Event(), count(1)

    def answer(prompt: str) -> str:
        if next(asked) == 8:
            loop.call_soon_threadsafe(eighth.set)
        return "Tides follow the moon."

    phi2_emulator.answers(answer)
    phi2_emulator.openai.schedule = Schedule(first=0.05)
    lines = "\n\n".join(f"Paragraph {i}." for i in range(30))
    (tmp_path / "many.txt").write_text(lines)
    arguments = ["many.txt", "--target", "openai", "--out", "run", "--repeat", "1", "--quiet"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "phi2sdk.compare", *arguments), cwd=tmp_path
    )
    await eighth.wait()
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    partial = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert not partial["run"]["complete"]
    phi2_emulator.openai.schedule = Schedule()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "phi2sdk.compare", *arguments, "--resume"), cwd=tmp_path
    )
    assert await process.wait() in (0, 3)  # 3: this machine was too busy, which is not asked here
    recorded = RunFolder(tmp_path / "run").read().recorded
    assert sum(key.arm == "greedy" for key in recorded.done) == 30


def test_interrupted_before_the_folder_is_made_nothing_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def interrupted(self: Comparison) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(Comparison, "_calibrate", interrupted)
    arguments = ("--demo", "-t", "local_float32", "--out", "run")
    assert in_process(*arguments, cwd=tmp_path, monkeypatch=monkeypatch) == 130
    assert "Interrupted: nothing was sent" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
