"""The identity section, and what the report does with ``identity.json``."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import Run
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report import identity_sentences as words
from phi2sdk.report.build import build
from phi2sdk.report.identity import examined, notes, sections
from phi2sdk.report.markdown import markdown
from phi2sdk.report.schema import Report
from tests.measure.making import answer
from tests.report.making import run_of, shown_sections

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
        "smallest_detectable_kl": 0.0051,  # of an older version
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
    reference = {"verdict": "reference", "used": 100, "tokens": 4000}
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
    return shown_sections(report, "identity")


def test_the_section_fits_80_columns_and_says_what_was_found() -> None:
    report = report_of(document())
    text = shown(report)
    assert max(map(len, text.splitlines())) <= 80
    whole = " ".join(text.split())
    for part in (
        "Is it the same model?",
        "0.80",
        "118 of 120",
        "a_provider_of_models serves a different model or samples differently (p = 0.0028)",
        "wraps the prompt in a template",
        "removes leading white space",
        "1 of 2 prompts have almost certain answers",
    ):
        assert part in whole, part
        assert part.split(" [")[0] in " ".join(markdown(report).replace("\\", "").split()), part


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
    assert why in " ".join(shown(report).split())


def test_a_damaged_file_is_told() -> None:
    broken = document()
    broken["targets"] = {name: {"verdict": "maybe"} for name in NAMES}
    with pytest.raises(ConfigurationError, match=r"identity\.json is damaged"):
        report_of(broken)
    with pytest.raises(ConfigurationError, match=r"identity\.json is damaged"):
        report_of(document(targets={}))


# ----------------------------------------------------------------- what the sentences claim

VERDICTS = ("reference", "consistent", "different", "undetermined")
POWER = {"int4": 0.97, "T=0.8": 1.0, "T=1.1": 0.61, "int8": 0.01, "template=qa": 1.0}
CLAIM = re.compile(r"detectable|nearer than|smallest (kl|difference|divergence)", re.IGNORECASE)
"""What a sentence says that promises to detect any change of a certain size."""


def with_target(**changes: Any) -> dict[str, Any]:
    found = document()
    found["targets"][NAMES[1]] |= changes
    return found


def evidence_of(**p: float) -> dict[str, Any]:
    plain = {name.replace("_", "-"): value for name, value in p.items()}
    return {
        name: {"p": value, "p_by_precision": {"float32": value}, "statistic": 8.1}
        for name, value in plain.items()
    }


LENGTHS = {"mean": 38.2, "control_mean": 63.1}
FINDINGS: dict[str, tuple[str, dict[str, float], str]] = {
    "capped": (
        "length",
        {**LENGTHS, "cap": 40, "control_longest": 127},
        "caps its answers at about 40 tokens, while the reference's own answers have up to 127.",
    ),
    "first-sentence": (
        "length",
        {**LENGTHS, "single": 1.0, "control_single": 0.12},
        "returns one sentence only in 100% of its answers",
    ),
    "shorter": ("length", LENGTHS, "are shorter than the reference's own (38 tokens on average"),
    "longer": ("length", LENGTHS, "are longer than the reference's own"),
    "line-breaks": (
        "white-space",
        {"share": 0.0, "control_share": 0.12},
        "changes the white space of its answers: 0% of its answers have line breaks",
    ),
    "greedy-answers": ("white-space", {}, "greedy answers differ from the reference's in white"),
    "repeats": (
        "repeats",
        {"repeated": 56, "answers": 80, "control_repeated": 0, "control_answers": 160},
        "repeats its answers: 56 of 80 equal another answer to the same prompt, and 0 of 160",
    ),
    "finish-reason": (
        "finish-reason",
        {"early": 8, "unfinished": 5, "answers": 80, "max_tokens": 128},
        '"length" for 8 answers that are shorter than the requested 128 tokens and "stop" for 5',
    ),
    "counts": (
        "counts",
        {"differ": 60, "answers": 80, "counted": 5300, "tokens": 4900},
        "counts 5,300 tokens in its answers, while the reference tokenizer counts 4,900",
    ),
}


@pytest.mark.parametrize("kind", FINDINGS)
def test_a_finding_is_a_sentence_in_the_notes_the_table_and_the_facts(kind: str) -> None:
    subject, figures, said = FINDINGS[kind]
    finding = {subject: {"kind": kind, "p": 0.0001, "figures": figures}}
    report = report_of(with_target(verdict="consistent", findings=finding))
    (sentence,) = notes(report)
    assert sentence == report.identity[NAMES[1]].findings[subject].sentence
    assert said in sentence
    assert NAMES[1] in sentence
    assert not CLAIM.search(sentence)
    assert sentence in " ".join(shown(report).split())
    (one,) = (one for one in examined(report) if one.name == NAMES[1])
    assert (subject.replace("-", " "), sentence) in one.facts


def test_a_finding_about_a_different_target_is_in_its_section_and_not_a_note() -> None:
    _, figures, _ = FINDINGS["shorter"]
    finding = {"length": {"kind": "shorter", "p": 0.0001, "figures": figures}}
    report = report_of(with_target(verdict="different", findings=finding))
    sentence = report.identity[NAMES[1]].findings["length"].sentence
    assert sentence not in notes(report)
    assert sentence in " ".join(shown(report).split())


def every_wording() -> list[str]:
    """All sentences of the identity tests, in every state that a target can be in."""
    found = []
    precisions = {"float32": {"kl_per_token": 0.0, "verdict": "different", "p": 0.01}}
    for verdict, closest, share, low, p, power in product(
        VERDICTS,
        (None, "int4", "T=0.8", "template=qa", "other:mine", "bfloat16"),
        (None, 0.2),
        (0.9, 1.02),
        (0.001, 0.6),
        ({}, POWER, {"int8": 0.01}),
    ):
        changes = {
            "verdict": verdict,
            "closest": closest,
            "share": share,
            "temperature": {"value": 1.05, "low": low, "high": None},
            "evidence": evidence_of(score=p, line_up=p, routing=p, mmd=p),
            "power_by_candidate": power,
            "power_of_score_test": power,
            "used": 0 if share and verdict == "undetermined" else 118,
        }
        identity = with_target(**changes)
        identity["calibration"] |= {"precisions": precisions} if share else {}
        report = report_of(identity)
        found += [one.sentence for one in report.identity.values()]
        found += [e.sentence for one in report.identity.values() for e in one.evidence.values()]
        found += notes(report)
        found += [line for section in sections(report) for line in section.lines]
        found += [text for one in examined(report) for _, text in one.facts]
    return found


def test_no_sentence_in_any_output_claims_a_detectable_kl() -> None:
    said = every_wording()
    assert len(set(said)) > 50
    for sentence in said:
        assert not CLAIM.search(sentence), sentence
        assert not ("KL" in sentence and "detect" in sentence), sentence


def test_no_text_of_the_package_claims_a_detectable_kl() -> None:
    root = Path(words.__file__).parents[2]
    files = [*root.glob("phi2sdk/**/*.py"), *root.glob("phi2sdk/**/*.j2"), root / "README.md"]
    files += root.glob("docs/**/*.md")
    assert len(files) > 100
    said = [
        f"{file.relative_to(root)}: {line}"
        for file in files
        if file.name != "decisions.md"
        for line in file.read_text(encoding="utf-8").splitlines()
        if CLAIM.search(line) and "smallest_detectable_kl" not in line
    ]
    assert said == []


def test_the_power_is_stated_by_candidate_and_an_older_bound_is_dropped() -> None:
    identity = with_target(verdict="consistent", power_by_candidate=POWER)
    report = report_of(identity)
    one = json.loads(report.to_json())["identity"][NAMES[1]]
    assert one["power_by_candidate"] == POWER
    assert one["smallest_detectable_kl"] is None
    said = " ".join(line for section in sections(report) for line in section.lines)
    assert (
        "With 118 calls of each target, this run would have detected int4 quantization with a "
        "probability of 0.97 and 2 other candidates with 0.95 or more, but less often "
        "temperature 1.1 (0.61) and int8 quantization (0.01)."
    ) in said


def test_changes_that_are_no_candidates_get_a_line_of_their_own() -> None:
    general = {"int4": 0.02, "T=0.8": 1.0, "T=1.1": 0.6}
    report = report_of(with_target(power_by_candidate=POWER, power_of_score_test=general))
    said = " ".join(line for section in sections(report) for line in section.lines)
    assert "Changes that are not in the list of candidates may remain undetected." in said
    assert "would have detected 1 of the 3 candidates" in said
    assert "and int4 quantization with 0.02." in said


@pytest.mark.parametrize(
    ("closest", "said"),
    [
        (
            "int4",
            "serves a different model (p = 0.0028): the closest candidate is int4 ",
        ),
        ("T=0.8", "samples differently (p = 0.0028): the closest candidate is temperature 0.8."),
        (
            "template=qa",
            "uses a different prompt template (p = 0.0028): the closest candidate is the qa ",
        ),
        (None, "serves a different model or samples differently (p = 0.0028); no candidate "),
    ],
)
def test_a_note_names_the_cause_of_a_different_target(closest: str | None, said: str) -> None:
    identity = with_target(closest=closest, evidence=evidence_of(line_up=0.001))
    (note,) = notes(report_of(identity))
    assert said in note
    assert note in report_of(identity).identity[NAMES[1]].sentence


def test_no_candidate_is_named_where_only_the_comparison_of_texts_rejects() -> None:
    evidence = evidence_of(score=0.4, line_up=0.3, routing=0.9, mmd=0.0001)
    report = report_of(with_target(closest="T=1.25", share=0.3, evidence=evidence))
    one = report.identity[NAMES[1]]
    assert one.closest is None
    assert one.share is None
    assert "no candidate explains its answers" in one.sentence
    assert "1.25" not in one.sentence + "".join(e.sentence for e in one.evidence.values())


@pytest.mark.parametrize("verdict", ["consistent", "reference"])
def test_an_interval_that_excludes_the_requested_temperature_is_explained(verdict: str) -> None:
    interval = {"value": 1.05, "low": 1.02, "high": 1.08}
    report = report_of(with_target(verdict=verdict, temperature=interval))
    sentence = report.identity[NAMES[1]].sentence
    assert "1.05 [1.02, 1.08]" in sentence
    assert "excludes the requested temperature 1" in sentence
    assert "about one unmodified target in 20" in sentence
    includes = {"value": 1.05, "low": 0.99, "high": 1.08}
    report = report_of(with_target(verdict=verdict, temperature=includes))
    assert "excludes" not in report.identity[NAMES[1]].sentence


def test_a_temperature_interval_of_the_control_that_excludes_1_is_explained() -> None:
    identity = document()
    interval = {"value": 0.95, "low": 0.92, "high": 0.99}
    identity["calibration"]["precisions"]["float32"]["temperature"] = interval
    said = " ".join(line for section in sections(report_of(identity)) for line in section.lines)
    assert "the control in float32 is 0.95 [0.92, 0.99], which excludes 1." in said


def test_all_calls_fitting_a_candidate_are_not_called_a_share() -> None:
    evidence = evidence_of(line_up=0.001, routing=0.001)
    report = report_of(with_target(closest="T=0.8", share=None, evidence=evidence))
    said = report.identity[NAMES[1]].evidence["routing"].sentence
    assert "all or nearly all of them fit a candidate better than the reference" in said
    assert "%" not in said
