from __future__ import annotations

import pytest

from phi2sdk.analysis.metrics import is_good, latencies, parse_slo
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.build import build
from phi2sdk.report.options import Analysis
from tests.measure.making import answer, failure
from tests.report.making import run_of

METRICS = latencies(estimating_tokenizer())


def test_service_levels_are_seconds_by_metric() -> None:
    assert parse_slo("ttft=0.5, e2e=5") == {"ttft": 0.5, "e2e": 5.0}
    assert parse_slo("icl=200ms") == {"icl": 0.2}


@pytest.mark.parametrize(
    "text", ["", "ttft", "ttft=", "ttft=fast", "p95=1", "e2e=0", "e2e=-1", "e2e=1..2"]
)
def test_an_invalid_service_level_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="service level"):
        parse_slo(text)


def test_a_request_is_good_only_within_every_limit() -> None:
    record = answer(chunks_ms=(100, 400))
    assert is_good(record, {"ttft": 0.2, "e2e": 0.5}, METRICS)
    assert not is_good(record, {"ttft": 0.05, "e2e": 0.5}, METRICS)
    assert not is_good(record, {"icl": 0.2}, METRICS)
    assert not is_good(failure(), {"e2e": 1e9}, METRICS)


def test_an_answer_in_one_piece_has_its_first_token_at_its_end() -> None:
    record = answer(streamed=False, chunks_ms=(400,))
    assert is_good(record, {"ttft": 0.5}, METRICS)
    assert not is_good(record, {"ttft": 0.3}, METRICS)


def test_the_good_fraction_counts_failures_and_goodput_the_window() -> None:
    records = [answer(f"p{i}", send_ms=1000 * i, chunks_ms=(1000 * i + 50,)) for i in range(8)]
    records += [failure("q0"), failure("q1")]
    analysis = Analysis(slo={"e2e": 0.1})
    report = build(run_of(records, load="closed"), estimating_tokenizer(), analysis)
    goodput = report.targets["t"].goodput
    assert goodput is not None
    assert (goodput.good, goodput.attempted, goodput.fraction.value) == (8, 10, 0.8)
    assert goodput.per_second == pytest.approx(8 / 7.05, rel=0.01)
