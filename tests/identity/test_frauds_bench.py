"""The bench of planted changes makes a run, continues its file, and turns it into a table."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from bench.identity_docs import planted
from bench.identity_frauds import FRAUDS, frauds, named, read, share

ROOT = Path(__file__).resolve().parents[2]
ROWS = ("honest", "cap_40")
CALLS = (12, 24)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file after one run of two targets, with an interrupted line and a second command.

    It takes several seconds, because the answers are really sampled, served and examined.
    """
    file = tmp_path_factory.mktemp("frauds") / "frauds.jsonl"
    command = [sys.executable, "bench/identity.py", "--frauds", "--runs", "1"]
    command += [f"--only={name}" for name in ROWS] + [f"--calls={count}" for count in CALLS]
    command += ["--continue", str(file)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with file.open("a") as appended:
        appended.write('{"run": 1001, "tar')
    before = len(read(file))
    again = Namespace(file=file, only=list(ROWS), calls=list(CALLS), runs=1, jobs=2)
    assert frauds(again) == 0
    assert len(read(file)) == before, "a complete run was made again"
    return file


def test_a_run_has_a_line_for_each_target_and_number_of_calls(results: Path) -> None:
    lines = read(results)
    found = {(line["target"], line["calls"]): line for line in lines if "target" in line}
    assert set(found) == {(name, count) for name in ROWS for count in CALLS}
    assert all(0 < line["p"] <= 1 and not line["left_out"] for line in found.values())
    assert found["cap_40", 24]["findings"]["length"] == "capped"
    assert "length" not in found["honest", 24]["findings"]
    assert sum(lines[-1]["core_seconds"].values()) > 0


def test_the_table_has_a_row_for_each_target_with_its_shares(results: Path) -> None:
    table = planted(read(results))
    assert "its percentages are not detection rates" in table
    (row,) = (line for line in table.splitlines() if line.startswith("| at most 40 tokens"))
    assert row.count("100% (2% to 100%)") >= 1, "the cause is named in the only run"


def test_a_share_has_a_binomial_interval() -> None:
    assert share(0, 100) == pytest.approx((0.0, 0.0, 0.0362), abs=1e-4)
    assert share(100, 100) == pytest.approx((1.0, 0.9638, 1.0), abs=1e-4)


def test_a_cause_is_named_by_a_finding_or_by_the_closest_candidate() -> None:
    rows = {fraud.name: fraud for fraud in FRAUDS}
    line = json.loads('{"findings": {"length": "capped"}, "closest": null}')
    assert named(rows["cap_40"], line)
    assert not named(rows["int4"], line)
    assert named(rows["int4"], {"findings": {}, "closest": "int4"})
