"""``phi2 evaluate`` as a process: killed, resumed, without consent."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from phi2sdk.config import Target
from phi2sdk.emulator import Emulator
from phi2sdk.evaluate import evaluate
from phi2sdk.measure.evaluations import read_evaluations
from tests.commands import phi2

LIMIT, CONCURRENCY = 30, 4
TASKS = ("demo_yes_no", "demo_exact_match")
EVALUATE = (
    *("evaluate", "--tasks", ",".join(TASKS), "--limit", str(LIMIT)),
    *("-t", "far", "--concurrency", str(CONCURRENCY), "--budget-usd", "1", "-o", "run"),
)


@pytest.fixture
def here(hosted: Emulator, tmp_path: Path) -> Path:
    """A folder with a target whose provider serves the bundled model."""
    (tmp_path / "phi2.toml").write_text(
        f'[targets.far]\nbackend = "openai"\nbase_url = "{hosted.openai.url}/v1"\n'
        'model = "demo"\nserver = "vllm"\napi_key = { env = "OPENAI_API_KEY" }\n'
        'price = { model = "per-token", input = 1.0, output = 2.0, source = "s", '
        'date = "2026-11-01" }\n'
    )
    return tmp_path


@pytest.fixture(autouse=True)
def _key(hosted: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", hosted.key)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def started(here: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "phi2sdk.cli", *EVALUATE, "--yes"],
        cwd=here,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


def asked(hosted: Emulator, before: int) -> Counter[str]:
    """The calls for each prompt since ``before``."""
    calls = (call for call in hosted.openai.calls[before:] if call.method == "POST")
    return Counter(call.body["prompt"] for call in calls)


def test_a_killed_evaluation_asks_again_only_what_was_in_flight_and_has_the_same_scores(
    here: Path, hosted: Emulator, targets: Mapping[str, Target]
) -> None:
    calls = hosted.openai.calls
    before = len(calls)
    process = started(here)
    calls.wait_for(before + LIMIT, 60)
    process.kill()
    process.communicate()
    status, _, err = phi2(*EVALUATE, "--yes", "--resume", cwd=here)
    assert status == 0, err
    times = asked(hosted, before)
    assert len(times) == 3 * LIMIT
    twice = sum(times.values()) - len(times)
    counted = int(re.findall(r"At most (\d+) calls were made twice", err)[0])
    assert twice <= counted <= CONCURRENCY
    whole = asyncio.run(evaluate(targets["openai"], TASKS, here / "whole", limit=LIMIT))
    scores = [(one.task, one.items, one.aggregate) for one in whole.results]
    assert scores == [(r.task, r.items, r.aggregate) for r in read_evaluations(here / "run")]


def test_without_consent_nothing_is_sent(here: Path, hosted: Emulator) -> None:
    before = len(hosted.openai.calls)
    status, out, err = phi2(*EVALUATE, cwd=here)
    assert (status, out) == (2, "")
    assert re.search(rf"far: {3 * LIMIT} questions with about [\d,]+ input tokens", err)
    assert re.search(r"They cost about \$0\.\d+, and at most \$0\.\d+ without retries", err)
    assert "The run never exceeds its budget of $1." in err
    assert "add --yes to agree to it" in err
    assert not asked(hosted, before)
    assert not (here / "run" / "evaluation.json").exists()
