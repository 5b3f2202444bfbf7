"""``phi2 compare --sweep``: a run for each rate, one table, and resumption of the whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phi2sdk.measure.folder import RunFolder
from phi2sdk.testing import Phi2Emulator
from tests.cli.test_resume import at_the_command_line, interrupted, printed
from tests.commands import phi2

SMALL = ("--repeat", "1", "--warmup", "0", "--max-tokens", "8")


@pytest.fixture
def here(phi2_emulator: Phi2Emulator, tmp_path: Path) -> Path:
    phi2_emulator.answers("Tides follow the moon.")
    (tmp_path / "six.txt").write_text("\n\n".join(f"Paragraph {i}." for i in range(6)))
    return tmp_path


def test_a_sweep_makes_a_run_for_each_rate_and_one_table(here: Path) -> None:
    sweep = ("six.txt", "-t", "openai", "--sweep", "200,50", "--slo", "e2e=5", *SMALL)
    status, out, err = phi2("compare", *sweep, "-o", "out", cwd=here)
    assert status in (0, 3), err  # 3: the machine was too busy for a valid run
    rows = [line.split() for line in out.splitlines() if line.startswith("openai ")]
    assert [row[1] for row in rows[:2]] == ["50", "200"]
    assert sorted(p.name for p in (here / "out").iterdir()) == ["rate-200", "rate-50", "sweep.json"]
    document = json.loads((here / "out" / "sweep.json").read_text())
    assert document["schema"] == "phi2sdk.sweep/1"
    assert [point["attainment"] for point in document["points"]] == [1.0, 1.0]
    for rate in (50, 200):
        run = RunFolder(here / "out" / f"rate-{rate}").read()
        assert run.configuration["load"] == {"kind": "poisson", "concurrency": 1, "rate": rate}
        assert sum(key.arm == "greedy" for key in run.recorded.done) == 6
    assert phi2("report", "out/rate-50", cwd=here)[0] == 0


def test_the_printed_line_continues_an_interrupted_sweep_at_its_rate(
    here: Path, phi2_emulator: Phi2Emulator
) -> None:
    sweep = ("six.txt", "-t", "openai", "--sweep", "20,40,80", *SMALL, "-o", "out")
    line = printed(interrupted(("phi2sdk.cli", "compare", *sweep), here, phi2_emulator))
    assert line == "phi2 compare --resume --output out"
    assert not (here / "out" / "rate-80").exists(), "the eighth request is of the second rate"
    (here / "six.txt").unlink()
    sent = len([call for call in phi2_emulator.openai.calls if call.method == "POST"])
    continued = at_the_command_line(f"{line} --json", here)
    assert continued.returncode in (0, 3), continued.stderr
    document = json.loads(continued.stdout)
    assert [point["rate"] for point in document["points"]] == [20, 40, 80]
    assert all(point["complete"] for point in document["points"])
    again = [call for call in phi2_emulator.openai.calls if call.method == "POST"]
    assert 10 <= len(again) - sent <= 12, "what is recorded is not sent again"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sweep", "1,fast"), "write it as in --sweep 1,2,4"),
        (("--sweep", "0,1"), "not a list of rates above 0"),
        (("--sweep", "1,2", "--rate", "3"), "--sweep does not take --rate"),
        (("--sweep", "1,2", "--load", "closed"), "--sweep does not take --load"),
        (("--sweep", "1,2", "--concurrency", "3"), "--sweep does not take --concurrency"),
        (("--sweep", "1,2", "--budget-usd", "3"), "make a run with --rate for each rate"),
        (("--sweep", "1,2", "--identity", "30"), "make one run without --sweep"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_that_a_sweep_does_not_have_is_refused(
    options: tuple[str, ...], message: str, here: Path, phi2_emulator: Phi2Emulator
) -> None:
    status, _, err = phi2("compare", "six.txt", "-t", "openai", *options, "-o", "out", cwd=here)
    assert status == 2
    assert message in err
    assert len(phi2_emulator.openai.calls) == 0
    assert not (here / "out").exists()


def test_a_sweep_that_is_there_is_not_mixed_with_another(here: Path) -> None:
    sweep = ("compare", "six.txt", "-t", "openai", "--sweep", "100", *SMALL, "-o", "out")
    assert phi2(*sweep, cwd=here)[0] in (0, 3)
    status, _, err = phi2(*sweep, cwd=here)
    assert status == 2
    assert "contains a sweep already: add --resume" in err
