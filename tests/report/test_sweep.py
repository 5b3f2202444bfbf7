from __future__ import annotations

import io

import pytest
from rich.console import Console

from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.build import build
from phi2sdk.report.options import Analysis
from phi2sdk.report.schema import Report
from phi2sdk.report.sweep import Sweep, sweep_of, table
from phi2sdk.report.terminal import print_section
from tests.measure.making import answer, failure
from tests.report.making import run_of

SLO = {"e2e": 0.1}


def report_at(rate: float, records: list[Record]) -> Report:
    run = run_of(records, load="poisson")
    run.info["configuration"]["load"]["rate"] = rate
    return build(run, estimating_tokenizer(), Analysis(slo=SLO))


def answers(e2e_ms: float, late_ms: float = 0, slow: int = 0) -> list[Record]:
    """60 answers, some of which take a second."""
    return [
        answer(
            f"p{i}",
            scheduled_ms=i * 10,
            send_ms=i * 10 + late_ms,
            chunks_ms=(i * 10 + late_ms + 5, i * 10 + late_ms + (1000 if i < slow else e2e_ms)),
        )
        for i in range(60)
    ]


def swept(*reports: tuple[float, list[Record]]) -> Sweep:
    return sweep_of({f"rate-{rate:g}": report_at(rate, found) for rate, found in reports}, SLO)


def test_the_highest_rate_is_the_last_before_the_first_that_misses_the_slo() -> None:
    found = swept((1, answers(50)), (2, answers(50)), (4, answers(200)), (8, answers(50)))
    assert found.highest == {"t": 2.0}
    assert [point.attainment for point in found.points] == [1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(("slow", "highest"), [(3, 1.0), (4, None)])
def test_95_percent_of_the_requests_must_be_within_the_slo(
    slow: int, highest: float | None
) -> None:
    assert swept((1, answers(50, slow=slow))).highest == {"t": highest}


def test_failed_requests_are_not_within_the_slo() -> None:
    broken = [*answers(50)[:50], *(failure(f"p{i}") for i in range(50, 60))]
    found = swept((1, broken))
    assert found.highest == {"t": None}
    assert (found.points[0].failures, found.points[0].requests) == (10, 60)


def test_a_rate_of_an_invalid_run_does_not_count() -> None:
    found = swept((1, answers(50)), (2, answers(50, late_ms=500)))
    assert [point.valid for point in found.points] == [True, False]
    assert found.highest == {"t": 1.0}
    assert "A rate whose run is not valid does not count." in on_screen(found)


def test_without_an_slo_no_rate_is_named_and_the_option_is() -> None:
    run = run_of(answers(50), load="poisson")
    run.info["configuration"]["load"]["rate"] = 1.0
    found = sweep_of({"rate-1": build(run, estimating_tokenizer())}, {})
    assert found.highest == {"t": None}
    assert "Add --slo" in on_screen(found)


def on_screen(found: Sweep) -> str:
    out = io.StringIO()
    print_section(table(found), Console(file=out, width=100))
    return out.getvalue()


def test_the_table_has_a_row_for_each_rate_with_its_quantiles() -> None:
    shown = on_screen(swept((1, answers(50)), (2, answers(80))))
    rows = [line.split() for line in shown.splitlines() if line.startswith("t ")]
    assert [row[1] for row in rows[:2]] == ["1", "2"]
    assert [row[5] for row in rows[:2]] == ["50", "80"]
    assert "t meets the SLO (e2e 0.1 s) for at least 95% of the requests up to 2" in shown
    assert max(map(len, shown.splitlines())) <= 100
