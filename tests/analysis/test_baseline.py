"""The published ratio, the original behind it, and our own, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from phi2sdk.analysis.baseline import (
    CLAIM,
    Baseline,
    SensitivityRow,
    find_baseline,
    published_ratio,
    sensitivity,
    times_cheaper,
    times_cheaper_at,
    times_cheaper_than,
)
from phi2sdk.analysis.breakeven import Option
from phi2sdk.analysis.cost import spend_of
from phi2sdk.completion import Count, Usage
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.pricing import resolve
from phi2sdk.pricing.book import price_book
from tests.measure.making import answer, failure

SOURCED = {"source": "s", "date": "2026-11-01"}
BOOK = price_book()


def summaries(n: int = 10, read: int = 200, wrote: int = 60, seconds: float = 1.0) -> list[Record]:
    """The sizes of the published arithmetic."""
    return [
        answer(
            f"p{i}",
            send_ms=i * seconds * 1e3,
            chunks_ms=((i + 1) * seconds * 1e3,),
            usage=Usage(Count(read), Count(wrote)),
        )
        for i in range(n)
    ]


def option(price: Any, records: list[Record], warmups: list[Record] | None = None) -> Option:
    resolved = resolve(price)
    spend = spend_of(resolved, records, lambda _: "", estimating_tokenizer(), warmups or [])
    assert spend is not None
    return Option("ours", resolved, spend)


def ratio(name: str, records: list[Record] | None = None, tokenizer_ratio: float = 1.0) -> float:
    baseline = find_baseline(name, BOOK, tokenizer_ratio=tokenizer_ratio)
    found = times_cheaper(baseline, option({"book": "together/phi-2"}, records or summaries()))
    assert found is not None
    return found.value


@pytest.mark.parametrize(
    ("output_per_input", "times"), [(0.0, 25.2), (0.235, 30.0), (0.3, 31.0), (1.0, 37.8)]
)
def test_the_originals_arithmetic_is_reproduced(output_per_input: float, times: float) -> None:
    """(30 + 60 r) / (1.19 (1 + r)): 25 times for input only, 30 times at r = 0.235."""
    assert published_ratio(BOOK, output_per_input) == pytest.approx(times, abs=0.05)
    by_hand = (30 + 60 * output_per_input) / (1.19 * (1 + output_per_input))
    assert published_ratio(BOOK, output_per_input) == pytest.approx(by_hand)


def test_the_claim_is_in_the_book_with_what_it_can_be_traced_to() -> None:
    claim = BOOK.claim(CLAIM)
    assert claim.value == 30
    assert "Llama-2-70b" in claim.note


@pytest.mark.parametrize(
    ("baseline", "times"),
    [("gpt-4", 369.2), ("gpt-4o", 42.3), ("gpt-4o-mini", 2.54), ("openai/gpt-4", 369.2)],
)
def test_phi2_by_the_token_against_recorded_models(baseline: str, times: float) -> None:
    """200 tokens in and 60 out: gpt-4 $0.0096 against $0.000026."""
    assert ratio(baseline) == pytest.approx(times, abs=0.05)
    assert ratio(f"genai-prices:openai/{baseline.split('/')[-1]}") == pytest.approx(times, abs=0.05)


def test_another_tokenizer_scales_the_baseline_alone() -> None:
    assert ratio("gpt-4", tokenizer_ratio=0.9) == pytest.approx(0.9 * 369.2, abs=0.05)
    with pytest.raises(ConfigurationError, match="tokenizer ratio"):
        find_baseline("gpt-4", BOOK, tokenizer_ratio=0.0)


def test_failures_and_the_warm_up_are_paid_for_on_our_side_only() -> None:
    empty = [answer(f"q{i}", text=" ", usage=Usage(Count(200), Count(60))) for i in range(10)]
    assert ratio("gpt-4", summaries() + empty) == pytest.approx(369.2 / 2, abs=0.05)
    warm = option({"book": "together/phi-2"}, summaries(), summaries(10))
    found = times_cheaper(find_baseline("gpt-4", BOOK), warm)
    assert found is not None
    assert found.value == pytest.approx(369.2 / 2, abs=0.05)


def test_a_free_target_is_no_number_of_times_cheaper() -> None:
    free = option({"model": "per-request", "usd": 0, **SOURCED}, summaries())
    assert times_cheaper(find_baseline("gpt-4", BOOK), free) is None


def test_thirty_times_below_gpt4_allows_a_number_of_seconds_on_a_rented_gpu() -> None:
    """$0.00032 a summary: 2.3 s of a T4 at $0.5 an hour, 0.23 s of an H200 at $5."""
    box = option({"book": "hf/aws-t4"}, summaries(seconds=2.304))
    rows = {r.setting: r for r in rows_of(box) if r.factor == "GPU"}
    assert rows["hf/aws-t4"].seconds == pytest.approx(2.304)
    assert rows["hf/aws-h200"].seconds == pytest.approx(0.2304)
    assert rows["hf/aws-t4"].times == pytest.approx(30)
    assert rows["hf/aws-h200"].times == pytest.approx(3)


def rows_of(option: Option) -> list[SensitivityRow]:
    return list(sensitivity(find_baseline("gpt-4", BOOK), option, BOOK))


def test_the_ratio_depends_on_the_utilization_and_on_the_length_of_answers() -> None:
    box = option({"book": "hf/aws-t4"}, summaries(seconds=2.304))
    by_use = {row.value: row.times for row in rows_of(box) if row.factor == "utilisation"}
    assert by_use[1.0] == pytest.approx(30)
    assert by_use[0.1] == pytest.approx(3)
    by_length = {
        row.value: row.times for row in rows_of(option({"book": "together/phi-2"}, summaries()))
    }
    assert by_length[0.0] == pytest.approx(300)
    assert by_length[1.0] == pytest.approx(450)
    assert by_length[0.3] == pytest.approx(369.2, abs=0.05)  # as measured


def test_at_a_volume_idle_time_is_paid_too() -> None:
    box = option({"model": "hourly", "usd": 1.0, **SOURCED}, summaries())
    found = times_cheaper_at(find_baseline("gpt-4", BOOK), box, 10_000)
    assert found is not None
    assert found.value == pytest.approx(0.0096 / (24 / 10_000))


def test_a_live_baseline_is_compared_by_what_was_measured() -> None:
    dear = option({"model": "per-request", "usd": 0.5, **SOURCED}, [*summaries(), failure("p0")])
    cheap = option({"model": "per-request", "usd": 0.1, **SOURCED}, summaries())
    found = times_cheaper_than(dear, cheap)
    assert found is not None
    assert found.value == pytest.approx(0.5 * 11 / 10 / 0.1)
    assert find_baseline("azure", BOOK, ["azure"]) == Baseline("azure", None)


@pytest.mark.parametrize("name", ["gpt-9", "phi-9", "openai", ""])
def test_an_unknown_baseline_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"openai/gpt-4o-mini"):
        find_baseline(name, BOOK)
