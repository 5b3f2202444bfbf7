from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.analysis.metrics import (
    E2E,
    ICL,
    NEVER,
    RESPONSE,
    SCHEDULE_LAG,
    TTFT,
    busy_seconds,
    longest_stall,
    throughput,
    tokens_per_chunk,
    tpot,
    window_seconds,
)
from phi2sdk.completion import Attempt, Count, Usage
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from tests.measure.making import MS, WORDS, answer, failure

TPOT = tpot(WORDS)


def values(metric: object, record: Record) -> list[float]:
    return list(metric.values(record))  # type: ignore[attr-defined]


def test_each_latency_is_what_its_formula_says() -> None:
    record = answer(
        text="a b c d e f g",
        chunks=(" a", " b c", " d e f g"),
        scheduled_ms=1,
        send_ms=3,
        chunks_ms=(13, 23, 43),
    )
    assert values(TTFT, record) == pytest.approx([0.010])
    assert values(E2E, record) == pytest.approx([0.040])
    assert values(RESPONSE, record) == pytest.approx([0.042])
    assert values(SCHEDULE_LAG, record) == pytest.approx([0.002])
    assert values(TPOT, record) == pytest.approx([0.030 / 6])
    assert values(ICL, record) == pytest.approx([0.010, 0.020])
    assert longest_stall(record) == pytest.approx(0.020)
    assert tokens_per_chunk([record], WORDS) == pytest.approx(7 / 3)


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


def test_tpot_counts_with_the_reference_tokenizer_whatever_the_provider_counts() -> None:
    for usage in (Usage(), Usage(None, Count(300)), Usage(None, Count(2), Count(1))):
        record = answer(
            text="a b c", chunks=(" a", " b", " c"), chunks_ms=(10, 30, 50), usage=usage
        )
        assert values(TPOT, record) == pytest.approx([0.020])


def test_tpot_leaves_out_the_tokens_that_came_with_the_first_chunk() -> None:
    record = answer(text="a b c d e", chunks=(" a b", " c d e"), chunks_ms=(10, 70))
    assert values(TPOT, record) == pytest.approx([0.060 / 3])


def test_a_first_chunk_of_white_space_brings_no_token() -> None:
    record = answer(text="a b", chunks=(" \n", "a b"), chunks_ms=(10, 50))
    assert values(TPOT, record) == pytest.approx([0.040 / 2])


def test_tpot_is_none_where_everything_came_at_once() -> None:
    assert values(TPOT, answer(chunks_ms=(10,))) == []
    past = answer(text="a b", chunks=(" a b\n", "\nInstruct:"), chunks_ms=(10, 50))
    assert values(TPOT, past) == []


def test_an_answer_that_was_cut_at_a_stop_keeps_its_tpot() -> None:
    record = replace(
        answer(
            text="a b",
            chunks=(" a", " b", "\nInstruct:", " more"),
            chunks_ms=(10, 20, 30, 40),
            usage=Usage(None, Count(100), Count(5, estimated=True)),
        ),
        cut=True,
    )
    assert values(TPOT, record) == pytest.approx([0.030])


def test_the_indentation_of_code_belongs_to_what_came_first() -> None:
    record = answer(text="    return 1", chunks=("    return", " 1"), chunks_ms=(10, 30))
    assert values(TPOT, record) == pytest.approx([0.020])


@given(
    st.text(max_size=20),
    st.text(alphabet="ab \n\u2028é🙂\ud83d", max_size=20),
    st.lists(st.integers(0, 20), max_size=6),
)
def test_tpot_is_a_positive_number_or_none_whatever_a_journal_holds(
    text: str, raw: str, chars: list[int]
) -> None:
    record = replace(
        answer(text=text or "a", chunks_ms=[10.0 * (n + 1) for n in range(len(chars) + 1)]),
        raw=raw,
        chunk_chars=array("q", [*chars, 1]),
    )
    for tokenizer in (WORDS, estimating_tokenizer()):
        assert all(0 <= value < 1 for value in values(tpot(tokenizer), record))


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
