from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest

from phi2sdk.measure.health import LagHistogram
from phi2sdk.measure.records import Record
from phi2sdk.report.schema import json_schema, published_schema
from tests.measure.making import answer, failure
from tests.report.making import report_of


def two_targets(count: int = 10) -> list[Record]:
    return [
        answer(f"p{i}", target=name, send_ms=1000 * i, chunks_ms=(1000 * i + 10, 1000 * i + 10 * n))
        for i in range(count)
        for n, name in ((2, "fast"), (4, "slow"))
    ]


def test_the_published_schema_is_that_of_the_models() -> None:
    assert published_schema() == json_schema(), (
        "write it anew: python -c 'from phi2sdk.report.schema import json_schema; "
        'open("phi2sdk/report/report.schema.json", "w").write(json_schema())\''
    )


def test_a_report_validates_against_the_published_schema_and_reads_back() -> None:
    records = [*two_targets(), failure("p0", target="broken")]
    report = report_of(records)
    document = json.loads(report.to_json())
    jsonschema.validate(document, json.loads(published_schema()))
    assert document["schema"] == "phi2sdk.report/1"
    assert type(report).model_validate(document) == report


def test_latencies_are_grouped_by_target() -> None:
    report = report_of(two_targets())
    fast, slow = report.targets["fast"].latency, report.targets["slow"].latency
    assert fast.e2e is not None
    assert slow.e2e is not None
    assert fast.e2e.p50.value == pytest.approx(0.020)
    assert slow.e2e.p50.value == pytest.approx(0.040)
    assert fast.e2e.p50.low is not None
    assert fast.e2e.p95.low is None  # ten prompts are too few
    assert report.targets["fast"].reference
    assert set(report.pairs) == {"fast:slow"}


def test_failures_stay_in_the_denominator() -> None:
    records = [answer(f"p{i}") for i in range(8)]
    records += [failure(f"q{i}", outcome="timeout", error="Timeout") for i in range(2)]
    target = report_of(records).targets["t"]
    assert target.latency.e2e is not None
    assert (target.latency.e2e.n, target.latency.e2e.censored) == (10, 2)
    assert target.latency.e2e.p95.value is None
    assert target.latency.e2e.p95.censored_above == 60.0
    assert (target.errors.attempted, target.errors.ok, target.errors.timeout) == (10, 8, 2)
    assert target.errors.kinds == {"Timeout": 2}


def test_where_nothing_was_streamed_there_is_no_time_to_first_token() -> None:
    records = [answer(f"p{i}", streamed=False, chunks_ms=(30,)) for i in range(3)]
    unanswered = replace(failure("q"), streamed=False)
    target = report_of([*records, unanswered]).targets["t"]
    assert not target.streams
    assert target.latency.ttft is None
    assert target.latency.tpot is None
    assert target.latency.icl is None
    assert target.latency.e2e is not None


def test_a_target_agrees_with_itself_or_not() -> None:
    records = [answer(f"p{i}", repetition=r) for i in range(4) for r in (0, 1)]
    records[1] = answer("p0", repetition=1, text="otherwise")
    found = report_of(records).targets["t"].self_agreement
    assert found is not None
    assert found.exact_cut is not None
    assert found.exact_cut.value == 0.75


def test_warmup_is_reported_separately() -> None:
    records = [
        answer("p", arm="warmup", chunks_ms=(9000,)),
        answer("p", arm="warmup", repetition=1, send_ms=9000, chunks_ms=(9010,)),
        *[answer(f"p{i}", chunks_ms=(20,)) for i in range(6)],
    ]
    target = report_of(records, repetitions=1).targets["t"]
    assert target.warmup is not None
    assert (target.warmup.n, target.warmup.first) == (2, 9.0)
    assert target.latency.e2e is not None
    assert target.latency.e2e.p99.value == pytest.approx(0.02)
    assert target.errors.attempted == 6


def test_an_unknown_price_is_null_and_a_known_one_has_source_and_date() -> None:
    price = {"parts": [{"model": "per-request", "usd": 2, "source": "s", "date": "2026-01-01"}]}
    records = two_targets()
    report = report_of(records, prices={"fast": price}, simulated=["fast"])
    cost = report.targets["fast"].cost
    assert cost is not None
    assert (cost.per_summary.value, cost.source, cost.date) == (2.0, "s", "2026-01-01")
    assert cost.simulated
    assert report.targets["slow"].cost is None


def test_a_run_with_delayed_requests_is_invalid_and_says_so_first() -> None:
    records = [answer(f"p{i}", scheduled_ms=0, send_ms=80, chunks_ms=(100,)) for i in range(5)]
    validity = report_of(records).validity
    assert not validity.valid
    assert validity.sentence.startswith("INVALID: requests were sent late by 80.0 ms (p99)")


def test_a_delayed_event_loop_makes_a_run_invalid() -> None:
    lag = LagHistogram()
    for _ in range(100):
        lag.add(0.2)
    health = [{"lag": lag.to_json(), "cpu_s": 1.9, "wall_s": 1.0}]
    validity = report_of([answer()], health=health).validity
    assert "the event loop was delayed" in validity.sentence
    assert validity.cpu_share == 1.9


def test_lags_are_compared_with_the_measured_latency() -> None:
    slow = [answer(f"p{i}", scheduled_ms=0, send_ms=80, chunks_ms=(60_000,)) for i in range(5)]
    assert report_of(slow).validity.valid  # 80 ms are less than 1 % of a minute


def test_a_run_without_records_is_reported_as_such() -> None:
    report = report_of([failure()])
    assert report.validity.sentence == "INVALID: no request was answered."
    assert report.failed == 1
    assert report.targets["t"].throughput.tokens_per_second is None
    assert report.targets["t"].tokens.input is None
