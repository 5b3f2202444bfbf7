"""Money on the command line: the baseline, the volume, the budget, the price book."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phi2sdk.demo.targets import DEMO_TARGETS
from phi2sdk.emulator import ScriptedEngine
from phi2sdk.pricing import genai_prices as genai_source
from phi2sdk.testing import Phi2Emulator


class Terminal(io.StringIO):
    """Somebody who answers, or nobody."""

    def __init__(self, answer: str | None) -> None:
        super().__init__(answer or "")
        self._there = answer is not None

    def isatty(self) -> bool:
        return self._there


def run(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *arguments: str,
    answer: str | None = None,
) -> tuple[int, str, str]:
    """``phi2 ...`` in this process: status, standard output, standard error."""
    from phi2sdk.cli import main

    monkeypatch.setattr(sys, "argv", ["phi2", *arguments])
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out, " ".join(err.split())


def test_the_demo_prints_one_screen_with_the_decision_and_the_baseline(tmp_path: Path) -> None:
    texts = (f"Tides are the rise of water number {i}." for i in range(6))
    (tmp_path / "six.txt").write_text("\n\n".join(texts))
    arguments = ["six.txt", "--demo", "--baseline", "gpt-4", "--volume", "10000", "--repeat", "1"]
    for name in DEMO_TARGETS[:6]:  # the others are no bargain: they are not the model
        arguments += ["--target", name]
    arguments += ["--identity", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "phi2sdk.compare", *arguments, "--out", "run"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr  # 3: this machine was too busy for a valid run
    lines = done.stdout.splitlines()
    assert len([*lines, *done.stderr.splitlines()]) <= 40
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    if report["validity"]["valid"]:
        assert lines[1].startswith("Demo: one very small model answers for every target")
        decision, notes = " ".join(" ".join(lines[3:5]).split()), " ".join(lines)
        chosen = "Choose openai: it has the lowest cost of the 6 eligible targets, $0.00"
        assert decision.startswith(chosen)
        assert "at 10,000 per day; the next is" in decision
        assert "times cheaper than gpt-4 at 10,000 per day, assuming equal quality" in notes
    assert report["baseline"]["times_cheaper"]["openai"]["value"] > 100
    assert report["decision"]["winner"] == ("openai" if report["validity"]["valid"] else None)


@pytest.fixture
def priced(
    tmp_path: Path, phi2_emulator: Phi2Emulator, monkeypatch: pytest.MonkeyPatch
) -> Phi2Emulator:
    phi2_emulator.emulator.engine = ScriptedEngine("They rise and fall.")
    (tmp_path / "many.txt").write_text("\n\n".join(f"Paragraph {i}." for i in range(20)))
    (tmp_path / "phi2.toml").write_text(
        '[targets.mine]\nbackend = "openai"\nattempts = 1\n'
        f'base_url = "{phi2_emulator.openai.url}/v1"\napi_key = {{ env = "OPENAI_API_KEY" }}\n'
        'price = { model = "per-request", usd = 0.01, source = "invoice", date = "2026-11-01" }\n'
    )
    monkeypatch.chdir(tmp_path)
    return phi2_emulator


ARGUMENTS = ["compare", "many.txt", "--repeat", "1", "--warmup", "0", "--out", "run"]


def test_a_budget_without_consent_sends_nothing(
    priced: Phi2Emulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(monkeypatch, capfd, *ARGUMENTS, "--budget-usd", "1")
    assert status == 2
    assert "20 requests cost at most $0.2" in err
    assert "--yes" in err
    status, _, err = run(monkeypatch, capfd, *ARGUMENTS, "--budget-usd", "1", answer="no\n")
    assert status == 2
    assert "Spend up to $1? [y/N]" in err
    assert "you did not agree to the budget: nothing was sent" in err
    assert [c for c in priced.openai.calls if c.method == "POST"] == []
    assert not Path("run").exists()


def test_a_budget_is_agreed_to_by_a_yes(
    priced: Phi2Emulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(monkeypatch, capfd, *ARGUMENTS, "--budget-usd", "1", answer="y\n")
    assert status in (0, 3)
    assert "Charged to the budget: $0.2 of $1" in err


def test_a_budget_stops_the_run_with_status_3_and_says_how_to_resume(
    priced: Phi2Emulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(monkeypatch, capfd, *ARGUMENTS, "--budget-usd", "0.055", "--yes")
    assert status == 3
    assert "5 of 20 requests are recorded" in " ".join(out.split())
    assert "The budget may stop the run before its end" in err
    command = "phi2 compare --resume --output run --budget-usd 0.21 --yes"
    assert err.endswith(f"The budget stopped the run. To continue the run: {command}")
    assert len([c for c in priced.openai.calls if c.method == "POST"]) == 5
    status, _, err = run(monkeypatch, capfd, *command.split()[1:])
    assert status in (0, 3)
    assert "stopped" not in err
    assert "15 requests cost at most $0.15" in err
    assert "Earlier sessions spent $0.05 of it" in err
    assert "Charged to the budget: $0.2 of $0.21" in err
    assert len([c for c in priced.openai.calls if c.method == "POST"]) == 20


def test_a_larger_budget_than_the_recorded_one_is_no_contradiction(
    priced: Phi2Emulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, capfd, *ARGUMENTS, "--budget-usd", "0.055", "--yes")
    more = ("compare", "--resume", "--output", "run", "--budget-usd", "5", "--yes")
    status, _, err = run(monkeypatch, capfd, *more)
    assert status in (0, 3)
    assert "Charged to the budget: $0.2 of $5" in err


def test_a_recorded_budget_needs_consent_in_each_session(
    priced: Phi2Emulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, capfd, *ARGUMENTS, "--budget-usd", "0.055", "--yes")
    before = len(priced.openai.calls)
    status, _, err = run(monkeypatch, capfd, "compare", "--resume", "--output", "run")
    assert status == 2
    assert "add --yes" in err
    assert len(priced.openai.calls) == before


def test_prices_are_listed_marked_and_checked(
    priced: Phi2Emulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Path("phi2.toml").open("a") as file:
        file.write(
            '[[prices]]\nid = "openai/gpt-4o/input"\nvalue = 2.0\ncurrency = "USD"\n'
            'unit = "1M tokens"\nsource = "my invoice"\ndate = "2025-01-01"\n'
        )
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(monkeypatch, capfd, "prices", "gpt-4o")
    text = " ".join(out.split())
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "4 prices, 1 of them from your phi2.toml; 1 older than 180 days" in text
    assert "yours; old; my" in text
    assert f"3 prices agree with genai-prices {genai_source.version()}, and 1 differ" in text
    assert "openai/gpt-4o/input: 2 here, 2.5 in genai-prices" in text
    assert run(monkeypatch, capfd, "prices", "gpt-4o", "--check")[0] == 1
    assert run(monkeypatch, capfd, "prices", "gpt-4.1", "--check")[0] == 0
    status, _, err = run(monkeypatch, capfd, "prices", "nobody")
    assert status == 2
    assert "contains 'nobody'" in err
