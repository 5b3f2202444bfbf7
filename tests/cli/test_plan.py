"""``phi2 plan``, on the bundled model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phi2sdk.measure.folder import RunFolder
from tests.commands import phi2
from tests.report.making import run_of

SMALL = ("--honest", "float32", "--pilot", "32", "--max-tokens", "8", "--device", "cpu")


def test_a_plan_says_calls_tokens_and_dollars(tmp_path: Path) -> None:
    (tmp_path / "asked.txt").write_text("Write a paragraph about tides.\n\nWhat is glass?\n")
    status, out, err = phi2(
        "plan", "--detect", "t=0.5", "--detect", "route=0.5:int4", "--prompts", "asked.txt",
        "--price", "together/phi-2", "--json", *SMALL, cwd=tmp_path,
    )  # fmt: skip
    assert status == 0, err
    assert "t=0.5" in err
    found = json.loads(out)
    cold, routed = found["plans"]
    assert cold["name"] == "t=0.5"
    assert 4 <= cold["calls"] < 200
    assert cold["output_tokens"] == pytest.approx(cold["calls"] * 8, rel=0.3)
    assert cold["input_tokens"] > cold["calls"]
    dollars = (cold["input_tokens"] + cold["output_tokens"]) * 0.1e-6
    assert cold["usd"] == pytest.approx(dollars, rel=0.01)
    assert cold["kl"] > 0
    assert cold["power"]["all"] >= 0.95
    assert routed["kl"] is None
    assert routed["calls"] is None or routed["calls"] > cold["calls"]
    assert found["entropy"] > 0.5


def test_the_table_names_what_finds_it_and_what_it_rests_on(tmp_path: Path) -> None:
    status, out, err = phi2("plan", "--detect", "t=0.5", *SMALL, cwd=tmp_path)
    assert status == 0, err
    assert "t=0.5" in out
    assert "from 32 pilot texts of each author by the bundled model" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--detect", "int5"), "int5"),
        (("--detect", "template=instruct"), "template=instruct"),
        (("--power", "1.5"), "between 0 and 1"),
        (("--targets", "0"), "must be 1 or more"),
        (("--pilot", "3"), "32 or more"),
        (("--honest", "float64"), "float64"),
        (("--prompts", "nowhere.txt"), "nowhere.txt"),
        (("--price", "no/such"), "no/such"),
        (("--target", "mars"), "mars"),
        (("--run", "nowhere"), "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_planned_is_status_2(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    small = () if "--pilot" in arguments or "--honest" in arguments else SMALL
    status, _, err = phi2("plan", *arguments, *small, cwd=tmp_path)
    assert status == 2, err
    assert said in err
    assert "Traceback" not in err


def test_a_calibrated_run_needs_no_weights(tmp_path: Path) -> None:
    calibration = {"calls": 100, "tokens": 2000, "entropy": 1.4, "candidates": {"int4": 0.01}}
    _run(tmp_path / "run", {"calibration": calibration})
    status, out, err = phi2("plan", "--run", "run", "--json", cwd=tmp_path)
    assert status == 0, err
    (plan,) = json.loads(out)["plans"]
    needed = 2.33 + 1.64  # normal quantiles of 0.05 / 5 and of the power
    assert plan["calls"] == pytest.approx(needed**2 / 0.01 / 20, rel=0.02)
    status, _, err = phi2("plan", "--run", "run", "--detect", "t=0.8", cwd=tmp_path)
    assert (status, "int4" in err) == (2, True)
    _run(tmp_path / "bare", {})
    status, _, err = phi2("plan", "--run", "bare", cwd=tmp_path)
    assert (status, "--identity" in err) == (2, True)


def _run(path: Path, identity: dict[str, object]) -> None:
    """The folder of a run that asked nothing."""
    folder = RunFolder(path)
    journal, _ = folder.open(run_of([]).info, resume=False)
    journal.close()
    if identity:
        folder.write_identity(identity)
