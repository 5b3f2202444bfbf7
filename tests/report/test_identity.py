"""The identity section, and what the report does with ``identity.json``."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import Run
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.build import build
from phi2sdk.report.markdown import markdown
from phi2sdk.report.overview import in_short
from phi2sdk.report.schema import Report
from phi2sdk.report.terminal import show
from tests.measure.making import answer
from tests.report.making import run_of

NAMES = ("local_float32", "a_provider_of_models")


def run_with(identity: dict[str, Any]) -> Run:
    records = [answer(str(i), target=name, text=" yes") for i in range(3) for name in NAMES]
    run = run_of(records)
    arm = {"calls": 1, "prompts": None, "format": "instruct"}
    info = {**run.info, "configuration": {**run.configuration, "identity": arm}}
    sampled = [answer("1", target=name, text=" no", arm="sampled") for name in NAMES]
    done = {**run.recorded.done, **{record.key: record for record in sampled}}
    return replace(run, info=info, recorded=replace(run.recorded, done=done), identity=identity)


def document(**changes: Any) -> dict[str, Any]:
    evidence = {"p": 0.0001, "p_by_precision": {"float32": 0.0001}, "statistic": 8.1}
    target = {
        "verdict": "different",
        "sentence": "a_provider_of_models: not Phi-2 at T = 1.0 in any honest precision.",
        "p": 0.0028,
        "smallest_detectable_kl": 0.0051,
        "calls": 120,
        "used": 118,
        "tokens": 5000,
        "left_out": {"failed": 2},
        "closest": "template=chat",
        "candidates": {"float32": 0.0, "int4": 7.8},
        "temperature": {"value": 0.8, "low": 0.78, "high": None},
        "wrapped": True,
        "restored": " ",
        "evidence": {"score": {**evidence, "sentence": "too likely"}},
    }
    reference = {"verdict": "reference", "sentence": "local_float32: the reference itself."}
    return {
        "records": 2,
        "calibration": {
            "model": "microsoft/phi-2",
            "honest": ["float32", "bfloat16"],
            "alpha": 0.05,
            "prompts": 2,
            "calls": 100,
            "tokens": 5000,
            "entropy": 1.2,
            "entropy_by_prompt": {"1": 1.2, "2": 0.01},
            "precisions": {"float32": {"kl_per_token": 0.0, "verdict": "consistent", "p": 1.0}},
        },
        "targets": dict(zip(NAMES, (reference, target), strict=True)),
    } | changes


def report_of(identity: dict[str, Any]) -> Report:
    return build(run_with(identity), estimating_tokenizer())


def shown(report: Report) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    show(report, console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_section_fits_80_columns_and_says_what_was_found() -> None:
    report = report_of(document())
    text = shown(report)
    assert max(map(len, text.splitlines())) <= 80
    whole = " ".join(text.split())
    for part in (
        "Is it the same model?",
        "0.80",
        "118 of 120",
        "not Phi-2 at T = 1.0 in any honest precision.",
        "wraps the prompt in a template",
        "leading white space is trimmed there",
        "1 of 2 prompts have answers that are nearly certain",
    ):
        assert part in whole, part
        assert part.split(" [")[0] in markdown(report), part


def test_a_verdict_goes_into_the_decision_and_failures_into_the_status() -> None:
    report = report_of(document())
    assert report.decision is not None
    assert report.decision.choices[NAMES[1]].identity == "different"
    assert report.decision.choices[NAMES[0]].identity == "reference"
    assert report.failed == 2
    assert report.run.requests == 2 * (3 + 1)
    assert report.run.complete


@pytest.mark.parametrize(
    ("identity", "why"),
    [
        ({}, "--identity-model"),
        ({"regret": {}}, "--identity-model"),
        (document(unavailable="no such model"), "no such model"),
        (document(records=1), "--resume"),
    ],
)
def test_without_a_verdict_it_is_not_tested_and_says_why(
    identity: dict[str, Any], why: str
) -> None:
    report = report_of(identity)
    assert {one.verdict for one in report.identity.values()} == {"not-tested"}
    assert why in report.identity[NAMES[1]].sentence
    assert report.identity_calibration is None
    assert why in shown(report)


def test_a_damaged_file_is_told() -> None:
    broken = document()
    broken["targets"] = {name: {"verdict": "maybe"} for name in NAMES}
    with pytest.raises(ConfigurationError, match=r"identity\.json is damaged"):
        report_of(broken)
    with pytest.raises(ConfigurationError, match=r"identity\.json is damaged"):
        report_of(document(targets={}))


def test_in_short_another_model_is_neither_fastest_nor_cheapest_nor_alike() -> None:
    said = in_short(build(run_with(document()), estimating_tokenizer()))
    assert "local_float32 has the lowest median latency" in said
    assert said.endswith("a_provider_of_models is another model.")
    assert "answered just as" not in said
