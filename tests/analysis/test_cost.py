from __future__ import annotations

from dataclasses import replace

import pytest

from phi2sdk.analysis.cost import CostPerSummary, billed, cost_per_summary, spend_of
from phi2sdk.analysis.metrics import window_seconds
from phi2sdk.completion import Attempt, Count, Usage
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.pricing import Price, resolve
from tests.measure.making import MS, answer, failure

SOURCED = {"source": "a price list", "date": "2026-11-01"}
TOKENS = resolve({"model": "per-token", "input": 10, "output": 20, **SOURCED})
HOURLY = resolve({"model": "hourly", "usd": 3600, **SOURCED})  # a dollar a second
CALLS = resolve({"model": "per-request", "usd": 1.0, **SOURCED})
TOKENIZER = estimating_tokenizer()
USAGE = Usage(Count(100), Count(50))


def priced(
    price: Price, records: list[Record], *, sequential: bool = True
) -> CostPerSummary | None:
    spend = spend_of(price, records, lambda _: "a prompt", TOKENIZER)
    if spend is None:
        return None
    return cost_per_summary(price, spend, None if sequential else window_seconds(records))


def test_tokens_of_answers_are_charged_by_answer() -> None:
    found = priced(TOKENS, [answer(f"p{i}", usage=USAGE) for i in range(10)])
    assert found is not None
    assert found.per_summary.value == pytest.approx((100 * 10 + 50 * 20) / 1e6)
    assert found.busy is None
    assert found.reserved is None
    assert not found.estimated


def test_failures_and_retries_are_paid_for_by_the_answers_that_came() -> None:
    twice = replace(
        answer("a"), attempts=(Attempt("t", 0, MS, "Overloaded"), Attempt("t", MS, 2 * MS))
    )
    found = priced(CALLS, [twice, failure("b")])
    assert found is not None
    assert found.per_summary.value == pytest.approx(3.0)


def test_an_empty_answer_is_no_summary() -> None:
    found = priced(CALLS, [answer("a"), answer("b", text=" ")])
    assert found is not None
    assert found.per_summary.value == pytest.approx(2.0)


def test_requests_side_by_side_share_the_machines_time() -> None:
    records = [answer(f"p{i}", send_ms=0, chunks_ms=(1000,)) for i in range(4)]
    found = priced(HOURLY, records, sequential=False)
    assert found is not None
    assert found.per_summary.value == pytest.approx(0.25)
    assert found.busy == found.per_summary
    assert found.reserved is not None
    assert found.reserved.value == pytest.approx(0.25)


def test_a_reserved_machine_is_paid_for_while_it_idles() -> None:
    records = [
        answer("a", send_ms=0, chunks_ms=(500,)),
        answer("b", send_ms=9500, chunks_ms=(1e4,)),
    ]
    found = priced(HOURLY, records, sequential=False)
    assert found is not None
    assert found.busy is not None
    assert found.reserved is not None
    assert found.busy.value == pytest.approx(0.5)
    assert found.reserved.value == pytest.approx(5.0)


def test_counts_that_the_provider_did_not_give_are_estimates() -> None:
    record = answer("a", text="three short words", usage=Usage())
    bill = billed(record, "a prompt", TOKENIZER, 0.0)
    assert (bill.input, bill.output, bill.estimated) == (2, 3, True)
    found = priced(TOKENS, [record])
    assert found is not None
    assert found.estimated


def test_a_request_that_failed_before_any_text_is_charged_for_no_tokens() -> None:
    bill = billed(failure(), "a prompt", TOKENIZER, 0.0)
    assert (bill.input, bill.output, bill.requests) == (0, 0, 1)


def test_the_cost_without_an_acceptable_answer_is_unknown() -> None:
    assert priced(CALLS, [failure()]) is None
