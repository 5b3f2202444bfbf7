"""``phi2 report`` prints the result of a run and rebuilds its reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from phi2sdk.cli.app import app
from phi2sdk.cli.report import analysis_like
from phi2sdk.measure.folder import RunFolder
from phi2sdk.report.options import Analysis
from phi2sdk.report.schema import Report
from tests.measure.making import answer
from tests.report.making import run_of

PRICE = {"parts": [{"model": "hourly", "usd": 3.6, "source": "a page", "date": "2026-11-01"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two targets, without any report yet."""
    records = [answer(f"p{i}", target=name) for i in range(8) for name in ("a", "b")]
    run = run_of(records, prices={"a": PRICE})
    info = dict(run.info)
    info["configuration"] = {**run.configuration, "tokenizer": "estimate by pieces of words"}
    journal, _ = RunFolder(tmp_path / "run").open(info, resume=False)
    with journal:
        journal.begin("2026-11-20T12:00:00+00:00")
        for record in records:
            journal.intent(record.key)
            journal.done(record)
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model lies in the hub's cache, so that tokens are estimated."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)


def report(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["report", *map(str, arguments)])
    error = "" if done.exception is None else str(done.exception)
    return done.exit_code, done.stdout, error


def read(folder: Path) -> Report:
    return Report.model_validate_json((folder / "report.json").read_bytes())


def test_it_writes_every_report_and_prints_one_screen_that_ends_with_the_page(
    folder: Path,
) -> None:
    status, out, _ = report(folder)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith("Valid: ")
    assert lines[1].startswith("Choose a: it is the only target that can be chosen")
    assert lines[-2] == f"Report: {folder / 'report.html'}"
    assert len(lines) <= 40
    assert {"report.html", "report.json", "report.md"} <= {p.name for p in folder.iterdir()}
    assert "</html>" in (folder / "report.html").read_text(encoding="utf-8")


def test_sections_are_printed_by_name_in_place_of_the_screen(folder: Path) -> None:
    titles = {"cost": "Cost (USD", "agreement": "Agreement between", "latency": "End-to-end"}
    for name, title in titles.items():
        out = report(folder, "--section", name)[1]
        others = set(titles.values()) - {title}
        assert title in out
        assert not any(other in out for other in others)
    assert all(title in report(folder, "--section", "all")[1] for title in titles.values())
    both = report(folder, "--section", "latency,cost")[1]
    assert both.index("End-to-end") < both.index("Cost (USD")
    assert both == report(folder, "--section", "latency", "--section", "cost")[1]
    assert "'money' does not exist: use cost, identity" in report(folder, "--section", "money")[2]


def test_json_is_the_report_itself(folder: Path) -> None:
    status, out, _ = report(folder, "--json")
    assert status == 0
    assert Report.model_validate_json(out) == read(folder)


def test_without_a_terminal_no_line_is_wrapped(folder: Path) -> None:
    decision = report(folder)[1].splitlines()[1]
    assert len(decision) > 80
    assert decision.endswith("per 1,000 summaries (busy time only)).")


def test_options_that_are_not_given_stay(folder: Path) -> None:
    assert report(folder, "--volume", "500", "--margin", "10%", "--slo", "e2e=1")[0] == 0
    assert report(folder, "--baseline", "gpt-4")[0] == 0
    found = read(folder)
    assert found.volume is not None
    assert (found.volume.per_day, found.run.margin) == (500, 0.1)
    assert found.baseline is not None
    assert found.baseline.name == "gpt-4"
    goodput = found.targets["a"].goodput
    assert goodput is not None
    assert goodput.slo == {"e2e": 1.0}


def test_a_requirement_that_fails_is_status_1(folder: Path) -> None:
    rule = "targets.a.latency.e2e.p50 < 0.001"
    said = f"The requirement {rule!r} is not met: the measured value is 0.02 [0.02, 0.02]."
    status, out, _ = report(folder, "--require", rule)
    assert status == 1
    assert f"- {said}" in out.splitlines()
    assert report(folder)[0] == 1
    done = CliRunner().invoke(app, ["report", str(folder), "--json"])
    assert (done.exit_code, done.stderr.strip()) == (1, said)
    assert report(folder, "--require", "targets.a.latency.e2e.p50 < 1")[0] == 0


def test_another_tokenizer_is_never_taken_in_silence(folder: Path) -> None:
    document = json.loads((folder / "run.json").read_text())
    document["configuration"]["tokenizer"] = "tokenizer.json 01234567"
    (folder / "run.json").write_text(json.dumps(document))
    status, _, error = report(folder)
    assert status != 0
    assert "the run counted tokens with 'tokenizer.json 01234567'" in error
    assert not (folder / "report.html").exists()


def test_a_folder_without_a_run_and_a_wrong_name_are_refused(folder: Path, tmp_path: Path) -> None:
    assert "no run.json" in report(tmp_path)[2]
    assert "targets.c" in report(folder, "--require", "targets.c.latency.e2e.p50 < 1")[2]


def test_a_report_that_cannot_be_read_is_rebuilt(folder: Path) -> None:
    (folder / "report.json").write_text("{")
    assert report(folder)[0] == 0
    assert read(folder).run.prompts == 8


def test_without_a_report_the_questions_are_the_usual_ones() -> None:
    assert analysis_like(None) == Analysis()
