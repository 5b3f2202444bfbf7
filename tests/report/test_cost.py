"""The sections about money: what they say, that they fit, and that nothing unknown becomes 0."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from phi2sdk.completion import Count, Usage
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.pricing import resolve
from phi2sdk.report.build import build
from phi2sdk.report.format import dollars, times
from phi2sdk.report.markdown import markdown
from phi2sdk.report.options import Analysis
from phi2sdk.report.requirements import Requirement
from phi2sdk.report.schema import Report, published_schema
from tests.measure.making import answer, failure
from tests.report.making import run_of, screen, shown_sections

ON = {"source": "an invoice", "date": "2026-11-01"}
PRICES: dict[str, Any] = {
    "hosted": {"book": "together/phi-2"},
    "rented": {"model": "hourly", "usd": 0.01, **ON},
    "rented_too": {"book": "hf/aws-t4"},
    "at_home": {"model": "owned", "device": "H200"},
}


def records(target: str, seconds: float, *, text: str = "one two") -> list[Record]:
    return [
        answer(
            f"p{i}",
            target=target,
            text=text,
            scheduled_ms=i * 1e4,
            send_ms=i * 1e4,
            chunks_ms=(i * 1e4 + seconds * 1e3,),
            usage=Usage(Count(200), Count(60)),
        )
        for i in range(8)
    ]


def made(analysis: Analysis | None = None, **more: list[Record]) -> Report:
    everything = [
        r
        for name, s in (("hosted", 0.5), ("rented", 2.0), ("rented_too", 1.0))
        for r in records(name, s)
    ]
    everything += records("at_home", 0.1) + records("unpriced", 0.2)
    for extra in more.values():
        everything += extra
    prices = {name: resolve(price).model_dump(mode="json") for name, price in PRICES.items()}
    run = run_of(everything, prices=prices, simulated=["hosted"], reference="unpriced")
    return build(run, estimating_tokenizer(), analysis or Analysis(baseline="gpt-4", volume=10_000))


def shown(report: Report) -> str:
    return screen(report) + shown_sections(report, "cost")


def test_everything_fits_80_columns_and_the_decision_comes_first() -> None:
    text = shown(made())
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    titles = [
        "Choose rented: it has the lowest cost",
        "Cost (USD per 1,000 summaries)",
        "Break-even volumes",
        "Cost compared with gpt-4",
        "Sensitivity of the gpt-4",
    ]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)


def test_the_ratio_is_shown_with_the_published_one_and_its_assumptions() -> None:
    report = made()
    assert report.baseline is not None
    hosted = report.baseline.times_cheaper["hosted"]
    assert hosted is not None
    assert hosted.value == pytest.approx(369.2, abs=0.1)
    assert report.baseline.times_cheaper["unpriced"] is None
    assert report.baseline.unknown["unpriced"] == "no price is configured"
    assert report.baseline.published.value == 30
    assert report.baseline.published.output_per_input == pytest.approx(0.3)
    assert report.baseline.source is not None
    assert "genai-prices" in report.baseline.source
    text = " ".join(shown(report).split())
    assert "~369" in text
    assert "Published ratio: 30 times cheaper than GPT-4" in text
    assert "Equal quality is assumed, not measured" in text
    assert "Emulators answered for hosted" in text
    assert "shut down on 2026-10-23" in text


def test_all_costs_are_shown_and_missing_ones_are_explained() -> None:
    report = made()
    hosted, rented = report.targets["hosted"].cost, report.targets["rented"].cost
    home = report.targets["at_home"].cost
    assert hosted is not None
    assert rented is not None
    assert home is not None
    assert hosted.token_priced == hosted.per_summary
    assert hosted.busy is None
    assert hosted.unknown["busy"] == "the price has no machine time"
    assert rented.busy == rented.per_summary
    assert rented.reserved is None
    assert "sequential load" in rented.unknown["reserved"]
    assert home.reserved == home.per_summary  # its stated utilization pays for idle time
    assert home.busy is not None
    assert home.busy.value < home.per_summary.value
    assert report.targets["unpriced"].cost is None
    assert report.targets["unpriced"].cost_unknown == "no price is configured"


def test_nothing_unknown_becomes_zero_anywhere() -> None:
    report = made(broken=[failure(f"p{i}", target="broken") for i in range(8)])
    document = json.loads(report.to_json())
    assert document["targets"]["broken"]["cost"] is None
    for name in ("broken", "unpriced"):
        assert document["volume"]["usd_per_summary"][name] is None
        assert document["baseline"]["times_cheaper"][name] is None
        assert document["decision"]["choices"][name]["cost"] is None
        assert name not in document["cost_curve"]["usd_per_summary"]
        lines = [line for line in shown(report).splitlines() if line.split()[:1] == [name]]
        assert lines
        assert all("$0" not in line for line in lines)


def test_every_cost_carries_the_source_and_date_of_its_price_and_old_ones_are_marked() -> None:
    report = made()
    for name in PRICES:
        cost = report.targets[name].cost
        assert cost is not None
        assert cost.source
        assert cost.date
        assert cost.stale == (name == "rented_too")
    assert "older than 180 days" in " ".join(shown(report).split())


def test_break_even_and_the_cheapest_at_the_volume_agree() -> None:
    report = made()
    pair = report.break_even["hosted:rented"]
    # One cent per hour is 24 cents per day; hosted summaries are $0.000026.
    assert (pair.below, pair.above) == ("hosted", "rented")
    assert pair.volume is not None
    assert pair.volume.value == pytest.approx(0.24 / 0.000026, rel=1e-6)
    assert pair.simulated
    assert "rented is cheaper than hosted above 9,231" in pair.sentence
    assert report.volume is not None
    assert report.volume.cheapest == "rented"
    assert report.decision is not None
    assert report.decision.winner == "rented"
    assert any(
        "would change below about 9,230 summaries per day: hosted is cheaper there" in s
        for s in report.decision.would_change
    )


def test_a_requirement_that_fails_takes_a_target_out_of_the_choice() -> None:
    required = Requirement.parse("targets.rented.latency.e2e.p50 < 1")
    report = made(Analysis(volume=10_000, requirements=(required,)))
    assert report.decision is not None
    assert report.decision.winner == "hosted"
    assert report.decision.choices["rented"].fails == (required.text,)
    assert report.decision.choices["hosted"].fails == ()
    text = " ".join(shown(report).split())
    assert "rented is cheaper and does not meet it" in text


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("baseline.times_cheaper.hosted >= 300", True),
        ("baseline.times_cheaper.unpriced >= 1", False),  # unknown: not shown
        ("volume.usd_per_summary.rented < 0.001", True),
        ("break_even.hosted:rented.volume > 10000", False),
    ],
)
def test_money_can_be_required(text: str, holds: bool) -> None:
    required = (Requirement.parse(text),)
    report = made(Analysis(baseline="gpt-4", volume=10_000, requirements=required))
    assert report.requirements[0].holds == holds


def test_a_live_baseline_has_its_quality_beside_its_price() -> None:
    report = made(Analysis(baseline="rented"))
    assert report.baseline is not None
    assert report.baseline.live
    assert report.baseline.quality is not None
    assert (report.baseline.quality.ok, report.baseline.quality.attempted) == (8, 8)
    assert report.baseline.quality.reference == "unpriced"
    assert "rented" not in report.baseline.times_cheaper
    text = " ".join(shown(report).split())
    assert "rented answered 8 of 8 requests; exact match with unpriced: 100%" in text


def test_a_live_baseline_without_a_price_gives_no_ratio() -> None:
    report = made(Analysis(baseline="unpriced"))
    assert report.baseline is not None
    assert report.baseline.times_cheaper["hosted"] is None
    assert report.baseline.unknown["hosted"] == "the cost of unpriced is unknown"


def test_without_a_known_cost_there_is_nothing_to_choose_by() -> None:
    report = build(run_of(records("a", 1.0) + records("b", 1.0)), estimating_tokenizer())
    assert report.decision is not None
    assert report.decision.winner is None
    assert report.cost_curve is None
    assert "the cost of every target that can be chosen is unknown" in report.decision.sentence


def test_the_document_is_of_the_published_schema_and_markdown_has_every_section() -> None:
    report = made()
    jsonschema.validate(json.loads(report.to_json()), json.loads(published_schema()))
    page = markdown(report)
    for title in (
        "## Cost (USD",
        "## Break-even",
        "## Cost compared with gpt-4",
        "## What would change",
    ):
        assert title in page


@pytest.mark.parametrize(
    "about", [{"volume": 0.0}, {"volume": -1.0}, {"volume": 1e12}, {"volume": float("nan")}]
)
def test_a_volume_out_of_range_is_refused(about: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="volume"):
        Analysis(**about)  # type: ignore[arg-type]


def test_an_unknown_baseline_is_found_before_the_run() -> None:
    with pytest.raises(ConfigurationError, match="neither a target nor in the price book"):
        Analysis(baseline="gpt-9").check(["a"])


@pytest.mark.parametrize(
    ("value", "text"), [(0, "$0"), (12345, "$12,345"), (0.12345, "$0.123"), (2.6e-5, "$2.60e-05")]
)
def test_dollars_have_three_digits(value: float, text: str) -> None:
    assert dollars(value) == text


@pytest.mark.parametrize(("value", "text"), [(369.2, "369"), (42.3, "42.3"), (2.54, "2.5")])
def test_ratios_have_the_digits_they_deserve(value: float, text: str) -> None:
    assert times(value) == text


@pytest.mark.parametrize(
    ("settings", "machine", "device", "known"),
    [
        ({"device": "cpu"}, {"gpu": "NVIDIA H200"}, "a CPU", False),
        ({}, {"gpu": None}, "a CPU", False),
        ({}, {"gpu": "NVIDIA H200"}, "NVIDIA H200", True),
        ({}, {}, None, True),
    ],
)
def test_the_price_of_a_gpu_is_not_charged_for_a_target_on_a_cpu(
    settings: dict[str, str], machine: dict[str, str | None], device: str | None, known: bool
) -> None:
    prices = {"here": resolve(PRICES["at_home"]).model_dump(mode="json")}
    run = run_of(records("here", 0.1), prices=prices)
    run.configuration["targets"]["here"] |= {"backend": "local", "settings": settings}
    run.info["machine"].update(machine)
    report = build(run, estimating_tokenizer())
    target = report.targets["here"]
    assert target.device == device
    assert (target.cost is not None) == known
    text = " ".join(shown(report).split())
    if known:
        assert (f"the target ran on {device}" in text) == (device is not None)
    else:
        why = "its price is that of the GPU H200, and it ran on a CPU"
        assert target.cost_unknown == why
        assert "cost of every target that can be chosen is unknown" in text
