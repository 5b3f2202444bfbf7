from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.build import build
from phi2sdk.report.options import Analysis
from phi2sdk.report.requirements import Requirement, evaluate, junit
from phi2sdk.report.schema import RequirementReport
from tests.measure.making import answer, failure
from tests.report.making import report_of, run_of

RECORDS: list[Record] = [
    answer(f"p{i}", target=name, chunks_ms=(10, 100 + i))
    for i in range(40)
    for name in ("azure", "hf")
]


def outcome(text: str, records: list[Record] = RECORDS) -> RequirementReport:
    return evaluate(Requirement.parse(text), report_of(records))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("targets.azure.latency.e2e.p50 < 1", "holds"),
        ("targets.azure.latency.e2e.p50 < 500ms", "holds"),
        ("targets.azure.latency.e2e.p50 > 1", "fails"),
        ("targets.azure.latency.e2e.p50<0.119", "not shown"),
        ("targets.azure.latency.e2e.p50.value<0.1195", "holds"),
        ("targets.azure.latency.e2e.p95 < 1", "not shown"),
        ("targets.azure.latency.e2e.n == 40", "holds"),
        ("targets.azure.latency.e2e.n != 40", "fails"),
        ("targets.azure.cost.per_summary < 1", "not shown"),
        ("pairs.azure:hf.agreement.exact_cut >= 90%", "holds"),
        ("pairs.azure:hf.agreement.exact_cut >= 99%", "not shown"),
        ("validity.valid == true", "holds"),
        ("targets.azure.errors.error <= 0", "holds"),
    ],
)
def test_a_requirement_holds_fails_or_is_not_shown(text: str, expected: str) -> None:
    found = outcome(text)
    assert found.outcome == expected
    assert found.holds == (expected == "holds")


def test_a_quantile_above_the_limit_fails_what_had_to_be_below() -> None:
    records = [failure(f"p{i}") for i in range(20)] + [answer("q")]
    assert outcome("targets.t.latency.e2e.p50 < 2", records).outcome == "fails"
    assert outcome("targets.t.latency.e2e.p50 < 90", records).outcome == "not shown"


@pytest.mark.parametrize(
    "text",
    [
        "targets.azure.latency.e2e.p95",
        "< 2",
        "targets.azure.latency.e2e.p95 < two",
        "targets.azure.latency.e2e.p95 << 2",
        "a < 1 < 2",
        "__import__('os').system('true') < 1",
        "targets.azure.latency.e2e.p95 < nan",
    ],
)
def test_an_invalid_requirement_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        Requirement.parse(text).check(["azure", "hf"])


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("targets.azure.latency.etoe.p95", "targets.azure.latency.e2e.p95"),
        ("targets.azur.latency.e2e.p95", "targets.azure.latency.e2e.p95"),
        ("pairs.azure:hf.agreement.exact", "pairs.azure:hf.agreement.exact_cut"),
    ],
)
def test_an_unknown_path_is_an_error_that_lists_near_ones(path: str, near: str) -> None:
    with pytest.raises(ConfigurationError, match=near.replace(".", r"\.")):
        Requirement.parse(f"{path} < 1").check(["azure", "hf"])


@given(st.text(max_size=60))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        requirement = Requirement.parse(text)
    except ConfigurationError:
        return
    assert requirement.operator in ("<", "<=", ">", ">=", "==", "!=")


def test_results_are_in_the_report_and_in_junit() -> None:
    asked = ("targets.azure.latency.e2e.p50 < 1", "targets.azure.latency.e2e.n < 1")
    analysis = Analysis(requirements=tuple(Requirement.parse(text) for text in asked))
    report = build(run_of(RECORDS), estimating_tokenizer(), analysis)
    assert [result.outcome for result in report.requirements] == ["holds", "fails"]
    suite = ElementTree.fromstring(junit(report.requirements))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    cases = {case.get("name"): case.find("failure") for case in suite}
    assert cases[asked[0]] is None
    assert cases[asked[1]] is not None
