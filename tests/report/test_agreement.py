"""The matrix of agreement and why answers differ, as a reader sees them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from phi2sdk.analysis.diagnosis import Diagnosis, Unexplained
from phi2sdk.analysis.regret import AnswerRegret, Regret, TargetRegret
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.agreement import sections, sentence
from phi2sdk.report.build import build
from phi2sdk.report.markdown import markdown
from phi2sdk.report.schema import Report
from tests.measure.making import answer, failure
from tests.report.making import report_of, run_of, shown_sections


def targets(count: int, prompts: int = 6) -> list[Record]:
    """Target k answers the first k prompts in a way of its own."""
    return [
        answer(f"p{i}", target=f"target_{k}", repetition=r, text=f"one two {k if i < k else 'x'}")
        for k in range(count)
        for i in range(prompts)
        for r in (0, 1)
    ]


def shown(report: Report) -> str:
    return shown_sections(report, "agreement")


def test_the_matrix_has_exact_match_above_and_similarity_below_its_diagonal() -> None:
    (section,) = sections(report_of(targets(3)))
    assert [column.title for column in section.columns] == ["target", "1", "2", "3"]
    rows = [[cell.text for cell in row] for row in section.rows]
    assert [row[0] for row in rows] == ["1 target_0", "2 target_1", "3 target_2"]
    assert [row[1 + i] for i, row in enumerate(rows)] == ["100"] * 3
    assert rows[0][2:] == ["83", "67"]
    assert rows[2][1] == "89"  # one token of three differs in two prompts of six


def test_only_all_of_them_reads_as_100() -> None:
    records = [
        answer(f"p{i}", target=t, text="other" if t == "b" and i == 0 else "one two")
        for t in ("a", "b")
        for i in range(400)
    ]
    (section,) = sections(report_of(records))
    assert section.rows[0][2].text == "99"


@pytest.mark.parametrize("count", [2, 12, 15])
def test_the_matrix_fits_on_a_terminal(count: int) -> None:
    report = report_of(targets(count))
    text = shown(report)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "Agreement between targets" in text
    for k in range(1, count):
        assert f"target_{k}: " in text.replace("\n", " ")
    assert markdown(report).count("## Agreement between targets") == -(-count // 12)


def test_one_target_has_no_matrix() -> None:
    assert list(sections(report_of(targets(1)))) == []


def test_each_target_except_the_reference_has_a_diagnosis() -> None:
    records = [answer(f"p{i}", target="a", text="one two", raw=" one two") for i in range(8)]
    records += [answer(f"p{i}", target="b", text="one two", raw="one two") for i in range(8)]
    records += [failure(f"p{i}", target="c") for i in range(8)]
    report = report_of(records)
    assert report.targets["a"].diagnosis is None
    assert report.targets["c"].diagnosis is None
    found = report.targets["b"].diagnosis
    assert found is not None
    assert found.sentence == (
        "The provider trims white space. 8 of 8 answers differ; 8 differ only in white space."
    )
    assert (found.cause, found.regret) == ("white space", None)


def test_what_local_weights_say_comes_from_the_runs_folder() -> None:
    records = [answer(f"p{i}", target="a", text="one two three four five") for i in range(8)]
    records += [
        answer(f"p{i}", target="b", text=f"one two three {'nine' if i == 3 else 'four'} five")
        for i in range(8)
    ]
    regret = TargetRegret(
        0.01, 8, 40, 1, 2.3, (AnswerRegret("p3", (0,), Regret(5, 1, 2.3, 2.3, 3, 2.3)),)
    )
    document = json.loads(json.dumps({"regret": {"b": regret.to_json()}}))
    run = replace(run_of(records), identity=document)
    found = build(run, estimating_tokenizer()).targets["b"].diagnosis
    assert found is not None
    assert found.regret is not None
    assert (found.regret.rate, found.regret.at_divergence) == (1 / 40, 2.3)
    assert found.sentence.endswith(
        "1 of 8 answers differ; 1 is unexplained: prompt p3, token 4, regret 2.3 nats."
    )
    damaged: dict[str, Any] = {"regret": {"b": {"forks": [{}]}}}
    with pytest.raises(ConfigurationError, match="regret"):
        build(replace(run, identity=damaged), estimating_tokenizer())


def test_the_sentence_counts_ties_and_names_the_worst_difference() -> None:
    found = Diagnosis(
        "few unexplained",
        prompts=100,
        differ=12,
        kinds={"tie": 11, "unexplained": 1},
        tie=0.01,
        unexplained=Unexplained("37", 18, 2.3),
    )
    assert sentence(found) == (
        "A few differences are unexplained. 12 of 100 answers differ; in 11 the reference was "
        "within 0.01 nat of a tie; 1 is unexplained: prompt 37, token 18, regret 2.3 nats."
    )
    assert sentence(replace(found, cause="equal", differ=0, kinds={})) == (
        "All answers equal those of the reference (100 prompts)."
    )
    coarse = Diagnosis(
        "another precision",
        prompts=9,
        differ=3,
        kinds={"beginning": 1, "unexplained": 2},
        tie=0.2,
        unexplained=Unexplained("4", 2, 0.7),
    )
    assert sentence(coarse) == (
        "The provider uses another precision or light quantization. 3 of 9 answers differ; "
        "3 are unexplained: the largest difference is in prompt 4, token 2, regret 0.7 nats."
    )
    early = Diagnosis("beginning", prompts=9, differ=9, kinds={"beginning": 8, "unexplained": 1})
    assert sentence(early) == (
        "Answers differ from the first tokens; the cause is unknown without local weights. 9 of 9 "
        "answers differ; 8 differ from the first or second token; 1 cannot be explained without "
        "the weights."
    )
    scored = replace(early, tie=0.2, kinds={"beginning": 9})
    assert sentence(scored) == (
        "Answers differ from the first tokens: another model or an unknown template. "
        "9 of 9 answers differ; 9 differ from the first or second token."
    )
    assert sentence(replace(scored, cause="another template", template="chat")) == (
        "The provider uses another prompt template: chat. 9 of 9 answers differ; 9 differ from the "
        "first or second token."
    )
    cut = Diagnosis("cut short", prompts=9, differ=9, kinds={"shorter": 9}, cut_at=128, varies=2)
    assert sentence(cut) == (
        "The provider cuts answers at 128 tokens. 9 of 9 answers differ; 9 end early; "
        "the answers to 2 prompts vary between repetitions."
    )


def test_targets_that_part_from_the_reference_at_other_places_are_told() -> None:
    words = [f"w{i}" for i in range(30)]

    def parted(at: int) -> str:
        return " ".join([*words[:at], "x", *words[at + 1 :]])

    records = [answer(f"p{i}", target="ref", text=" ".join(words)) for i in range(20)]
    records += [answer(f"p{i}", target="early", text=parted(1 + i % 2)) for i in range(20)]
    records += [answer(f"p{i}", target="late", text=parted(20 + i % 5)) for i in range(20)]
    pairs = report_of(records).pairs
    assert pairs["ref:early"].divergence_p is None
    assert pairs["early:late"].divergence_p is not None
    assert pairs["early:late"].divergence_p < 0.001
    agreement = pairs["ref:late"].agreement
    assert agreement is not None
    assert agreement.parted == 20
    assert agreement.first_divergence is not None
    assert agreement.first_divergence_low is not None
    assert agreement.first_divergence_low <= agreement.first_divergence
