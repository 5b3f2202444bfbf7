from __future__ import annotations

from dataclasses import replace

import pytest

from phi2sdk.completion import Attempt, Count, Usage
from phi2sdk.measure.metrics import E2E, ICL, LATENCIES, NEVER, RESPONSE, SCHEDULE_LAG, TPOT, TTFT
from phi2sdk.measure.metrics.icl import longest_stall, tokens_per_chunk
from phi2sdk.measure.metrics.throughput import busy_seconds, throughput, window_seconds
from phi2sdk.measure.records import Record
from tests.measure.making import MS, answer, failure


def values(metric: object, record: Record) -> list[float]:
    return list(metric.values(record))  # type: ignore[attr-defined]


def test_each_latency_is_what_its_formula_says() -> None:
    record = answer(scheduled_ms=1, send_ms=3, chunks_ms=(13, 23, 43), tokens=(1, 2, 4))
    assert values(TTFT, record) == pytest.approx([0.010])
    assert values(E2E, record) == pytest.approx([0.040])
    assert values(RESPONSE, record) == pytest.approx([0.042])
    assert values(SCHEDULE_LAG, record) == pytest.approx([0.002])
    assert values(TPOT, record) == pytest.approx([0.030 / 6])
    assert values(ICL, record) == pytest.approx([0.010, 0.020])
    assert longest_stall(record) == pytest.approx(0.020)
    assert tokens_per_chunk([record]) == pytest.approx(7 / 3)


def test_a_reply_in_one_piece_has_no_time_to_first_token() -> None:
    record = answer(chunks_ms=(40,), streamed=False)
    assert values(TTFT, record) == values(TPOT, record) == values(ICL, record) == []
    assert values(E2E, record) == pytest.approx([0.040])


def test_a_failure_counts_as_never_where_an_answer_was_due() -> None:
    record = failure()
    for metric in (TTFT, E2E, RESPONSE):
        assert values(metric, record) == [NEVER]
    for metric in (TPOT, ICL):
        assert values(metric, record) == []


def test_retries_and_their_waits_count() -> None:
    first = Attempt("t", 0, 100 * MS, "Overloaded", 503, wait=0.2)
    record = replace(answer(send_ms=0, chunks_ms=(350,)), attempts=(first, Attempt("t", 300, 350)))
    assert values(E2E, record) == pytest.approx([0.350])
    assert record.waited == 0.2


def test_tpot_takes_a_chunk_for_a_token_where_there_are_as_many() -> None:
    record = answer(chunks_ms=(10, 30, 50), usage=Usage(None, Count(3)))
    assert values(TPOT, record) == pytest.approx([0.020])


def test_tpot_shares_tokens_out_by_characters_where_a_chunk_holds_several() -> None:
    record = answer(chunks_ms=(10, 50), usage=Usage(None, Count(10)))
    assert values(TPOT, record) == pytest.approx([0.040 / 5])


def test_tpot_is_none_where_everything_came_at_once() -> None:
    assert values(TPOT, answer(chunks_ms=(10,), tokens=(7,))) == []


def test_tokens_billed_past_our_cut_do_not_make_a_target_faster() -> None:
    usage = Usage(None, Count(100), Count(5, estimated=True))
    record = replace(answer(chunks_ms=(10, 20, 30, 40, 50), usage=usage), cut=True)
    assert values(TPOT, record) == pytest.approx([0.010])


def test_throughput_of_a_target_that_idles_is_over_the_time_in_which_it_had_work() -> None:
    records = [
        answer("a", send_ms=0, chunks_ms=(100,)),
        answer("b", send_ms=900, chunks_ms=(1000,)),
    ]
    assert window_seconds(records) == pytest.approx(1.0)
    assert busy_seconds(records) == pytest.approx(0.2)
    assert throughput(records, 20, sequential=True) == pytest.approx(100)
    assert throughput(records, 20, sequential=False) == pytest.approx(20)
    assert throughput([], 0, sequential=True) is None


def test_requests_side_by_side_share_their_busy_seconds() -> None:
    records = [answer("a", send_ms=0, chunks_ms=(100,)), answer("b", send_ms=50, chunks_ms=(150,))]
    assert busy_seconds(records) == pytest.approx(0.15)


def test_clocks_of_different_sessions_are_never_compared() -> None:
    records = [
        answer("a", send_ms=5000, chunks_ms=(5100,), session=1),
        answer("b", send_ms=0, chunks_ms=(100,), session=2),
    ]
    assert window_seconds(records) == busy_seconds(records) == pytest.approx(0.2)


def test_every_metric_says_what_it_is() -> None:
    for metric in (*LATENCIES, SCHEDULE_LAG):
        assert metric.unit == "s"
        assert metric.definition.endswith(".")
        assert metric.formula
