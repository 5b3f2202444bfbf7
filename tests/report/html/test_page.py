"""The page as text: what it says, and that it needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from importlib.resources import files

import pytest

from phi2sdk.report.html.assets import LIBRARIES, read
from phi2sdk.report.overview import decision_lines, simulated
from phi2sdk.report.schema import Interval, LikenessReport, QualityReport
from tests.measure.making import answer, failure
from tests.report.html.making import EVERYTHING, examined_as, page_of, varied_run
from tests.report.making import report_of, run_of


@pytest.fixture(scope="module")
def text() -> str:
    return page_of(varied_run(), EVERYTHING)[1]


def cells(text: str, target: str) -> list[str]:
    """Return the row of a target in the decision table."""
    table = text[text.index('id="decision-table"') :]
    row = re.search(rf'data-target="{target}".*?</tr>', table, re.S)
    assert row is not None
    found = re.findall(r"<td.*?</td>", row[0], re.S)
    return [re.sub(r"<[^>]+>", " ", cell).strip() for cell in found]


def test_the_policy_names_every_script_and_style_and_nothing_else(text: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    said = policy[1].replace("&#39;", "'")
    assert said.startswith("default-src 'none'; ")
    assert "unsafe" not in said
    inline = re.findall(r"<script>(.*?)</script>|<style>(.*?)</style>", text, re.S)
    assert len(inline) == 4
    for script, style in inline:
        digest = hashlib.sha256((script or style).encode()).digest()
        assert f"'sha256-{base64.b64encode(digest).decode()}'" in said


def test_the_validity_of_the_run_comes_first(text: str) -> None:
    main = text[text.index("<main>") :]
    assert main.index("Valid: requests were sent within") < main.index("<h1") < main.index("<table")


def test_the_reason_the_excluded_and_the_simulated_targets_come_before_the_table() -> None:
    report, text = page_of(varied_run())
    first = html.unescape(text[text.index("<main>") :].split("<table")[0])
    said = [simulated(report), *decision_lines(report)]
    assert len(said) == 3
    assert all(line and line in first for line in said)
    assert "cheap" in str(said[0])
    assert "local" in str(said[2])


def test_unknown_is_not_zero_and_simulated_is_marked(text: str) -> None:
    assert cells(text, "local")[1].startswith("unknown")
    cheap = cells(text, "cheap")
    assert all(cell.startswith("~") for cell in cheap[1:6])
    assert "simulated" in text[text.index('data-target="cheap"') :][:400]
    assert not any(cell.startswith("~") for cell in cells(text, "hourly"))


def test_a_target_that_mostly_fails_is_above_its_limit_not_fast(text: str) -> None:
    broken = cells(text, "broken")
    assert broken[4].startswith("&gt;60.0")
    assert broken[-1] == "27 of 80"


def test_intervals_are_shown_under_their_values(text: str) -> None:
    assert re.search(r"\d – \d", cells(text, "hourly")[3])


def test_every_requirement_is_there_with_its_outcome(text: str) -> None:
    assert '<li class="holds">' in text
    requirement = "&#39;targets.hourly.latency.e2e.p50 &lt; 0.01&#39;"
    assert f'<li class="fails">The requirement {requirement} is not met' in text


def test_the_method_and_the_definitions_are_on_the_page(text: str) -> None:
    for said in ("seed", "time to first token", "t_first - t_send", "one of them (Pareto)"):
        assert said in text


def test_a_section_for_identity_is_there_even_without_tests(text: str) -> None:
    assert "Not tested: this run has no sampled answers" in text


@pytest.fixture(scope="module")
def examined() -> str:
    run = run_of([answer("p", target="a"), answer("p", target="b")])
    return page_of(run, **examined_as("a", "b"))[1]


def test_evidence_is_shown_with_its_candidates(examined: str) -> None:
    for said in (
        "b: not the model. &lt;b&gt;",
        "98 of 100",
        "0.78 – 0.83",
        "Z 6.1",
        "1e-09",
        "7.80",
        "about 25% are answered by something else",
        ">0.97<",
    ):
        assert said in examined
    assert "other:<script>" not in examined
    assert cells(examined, "b")[7] == "different"


def test_an_effective_temperature_beyond_the_requested_one_is_explained_beside_it(
    examined: str,
) -> None:
    assert re.search(r"0\.80</span>.*0\.78 – 0\.83</span>.*excludes 1", examined)
    definition = examined[examined.index('id="term-effective-temperature"') :].split("</div>")[0]
    assert "An interval that excludes 1 does not by itself reject a target" in definition


def test_the_page_shows_the_tests_of_the_local_weights(examined: str) -> None:
    section = examined[examined.index("The same tests on the local weights") :]
    for said in (
        "&lt;model&gt;",
        "float32, bfloat16",
        "with probability 0.05 or less",
        "0.0001",
        "&lt;p&gt;",
        "int4",
    ):
        assert said in section


def test_the_libraries_are_those_that_the_readme_names() -> None:
    readme = read("vendor/README.md")
    folder = files("phi2sdk.report.html").joinpath("assets", "vendor")
    for name in LIBRARIES:
        digest = hashlib.sha256(read(name).encode()).hexdigest()
        assert f"| {digest} |" in readme
        assert "</script" not in read(name)
    for license_file in ("LICENSE-d3", "LICENSE-plot"):
        assert "Permission to use, copy, modify" in folder.joinpath(license_file).read_text()


def test_quality_is_shown_with_the_value_expected_by_chance() -> None:
    likeness = LikenessReport(
        prompts=9, value=Interval(value=0.9, low=0.8, high=0.95), baseline=0.125, above_chance=0.88
    )
    found = QualityReport(
        prompts=9,
        rouge_l=likeness,
        tokens=Interval(value=24, low=21, high=26),
        unknown={"cosine": "no model was <given>"},
    )
    report = report_of([answer("p", target="a")])
    targets = {"a": report.targets["a"].model_copy(update={"quality": found})}
    text = page_of(run_of([answer("p", target="a")]), targets=targets)[1]
    section = text[text.index('<div class="fold-body" id="quality"') :]
    section = section[: section.index("</section>")]
    for said in ("0.900", "0.800 – 0.950", "chance 0.125", "21 – 26", "no model was &lt;given&gt;"):
        assert said in section
    assert "chrF" not in section
    assert 'href="#quality"' in text


def test_without_quality_there_is_no_such_section() -> None:
    text = page_of(run_of([failure("p", target="a")]))[1]
    assert "#quality" not in text
