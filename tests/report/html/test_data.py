"""The data that the scripts of the page draw and show."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.html.data import POINTS, STEPS, parting, series
from phi2sdk.report.html.prompts import LONGEST, REPETITIONS, answers_of, shown
from tests.measure.making import answer, failure
from tests.report.making import measured_of, run_of

TOKENIZER = estimating_tokenizer()


def by_target(records: list[Record]) -> dict[str, list[Record]]:
    names = dict.fromkeys(record.key.target for record in records)
    return {name: [r for r in records if r.key.target == name] for name in names}


def entries(records: list[Record], target: str = "b", prompt: int = 0) -> list[dict[str, object]]:
    found = answers_of(measured_of(records))
    return list(found["prompts"][prompt]["answers"][target])


# ------------------------------------------------------------------ series


def test_a_distribution_equals_scipy_and_failures_keep_it_below_one() -> None:
    times = [10, 20, 20, 40, 80]
    records = [answer(f"p{i}", chunks_ms=(ms,)) for i, ms in enumerate(times)]
    records += [failure(f"f{i}") for i in range(5)]
    found = series(run_of(records), by_target(records), TOKENIZER)["distributions"]["e2e"]["t"]
    assert (found["n"], found["censored"]) == (10, 5)
    assert found["y"][-1] == 0.5
    exact = stats.ecdf(stats.CensoredData(np.array(times) / 1e3, right=np.full(5, 60.0))).cdf
    steps = dict(zip(found["x"], found["y"], strict=True))
    assert steps[0.04] == pytest.approx(float(exact.evaluate(0.04)))


def test_many_requests_are_thinned_evenly_and_failures_are_kept() -> None:
    records = [
        answer(f"p{i}", scheduled_ms=i, send_ms=i, chunks_ms=(i + 5 + i / 1000,))
        for i in range(5000)
    ]
    records += [replace(failure(f"f{i}"), t_send_ns=None) for i in range(3)]
    found = series(run_of(records), by_target(records), TOKENIZER)
    over_time = found["time"]["t"]
    assert len(over_time["t"]) == POINTS
    assert (over_time["t"][0], over_time["t"][-1]) == (0, 4.999)
    assert over_time["every"] == 13
    assert len(over_time["failed"]) == 3
    steps = found["distributions"]["e2e"]["t"]
    assert len(steps["x"]) == STEPS
    assert steps["x"][-1] == pytest.approx(0.009999)


def test_sessions_are_placed_one_after_the_other() -> None:
    records = [answer("p", chunks_ms=(1000,)), answer("q", session=2, chunks_ms=(500,))]
    assert series(run_of(records), by_target(records), TOKENIZER)["time"]["t"]["t"] == [0, 1]


def test_the_data_has_no_infinite_number() -> None:
    records = [failure("p"), answer("p", target="b", streamed=False)]
    found = series(run_of(records), by_target(records), TOKENIZER)
    json.dumps(found, allow_nan=False)
    assert "t" not in found["distributions"]["e2e"]


# ------------------------------------------------------------------ side by side


def test_an_equal_answer_is_marked_and_a_different_one_has_a_token_diff() -> None:
    records = [answer("p", target="a", text="one two"), answer("p", target="b", text="one two")]
    assert entries(records)[0]["same"] is True
    assert "text" not in entries(records)[0]
    records[1] = answer("p", target="b", text="one three")
    assert entries(records)[0]["diff"] == ((0, "one"), (1, " two"), (2, " three"))
    assert entries(records)[0]["at"] == 1


def test_without_an_answer_of_the_reference_the_text_has_no_diff() -> None:
    records = [failure("p", target="a"), answer("p", target="b", text="one")]
    assert entries(records)[0]["text"] == "one"
    failed = entries(records, "a")[0]
    assert (failed["outcome"], failed["error"]) == ("error", "Overloaded")
    assert failed["message"] == "Overloaded happened"
    assert "e2e" not in failed


def test_the_text_after_the_cut_is_separate_and_short() -> None:
    records = [answer("p", target="b", text="one", raw=" one\nInstruct: two" + " x" * 1000)]
    found = str(entries(records)[0]["past"])
    assert found.startswith("Instruct: two x")
    assert found.endswith("more characters]")
    assert len(found) < 500


def test_a_long_text_is_cut_and_says_so() -> None:
    assert shown("x" * LONGEST) == "x" * LONGEST
    assert shown("x" * 10_000_000).endswith("[... 9,980,000 more characters]")
    assert len(shown("\x1b" * 10_000_000)) < 5 * LONGEST


def test_of_many_repetitions_the_informative_ones_are_kept() -> None:
    records = [answer("p", target="a", repetition=i) for i in range(50)]
    records += [answer("p", target="b", repetition=i) for i in range(50)]
    records[50 + 17] = answer("p", target="b", repetition=17, text="another")
    records[50 + 30] = failure("p", target="b", repetition=30)
    found = answers_of(measured_of(records))["prompts"][0]
    kept = [one.get("repetition", 0) for one in found["answers"]["b"]]
    assert len(kept) == REPETITIONS
    assert {0, 17, 30} <= set(kept)
    assert found["more"] == {"a": 46, "b": 46}


def test_the_usual_route_is_written_once() -> None:
    records = [answer(f"p{i}", target="a") for i in range(3)]
    records[1] = replace(records[1], route="elsewhere")
    found = answers_of(measured_of(records))
    assert found["routes"] == {"a": "route"}
    told = [prompt["answers"]["a"][0].get("route") for prompt in found["prompts"]]
    assert told == [None, "elsewhere", None]


# ------------------------------------------------------------------ parting


def test_the_divergence_curve_is_the_kaplan_meier_estimate() -> None:
    texts = ["a b c d", "a x c d", "a b x d", "a b c d"]
    records = [answer(f"p{i}", target="a", text="a b c d") for i in range(4)]
    records += [answer(f"p{i}", target="b", text=text) for i, text in enumerate(texts)]
    found = parting(measured_of(records, reference="a"))
    assert list(found) == ["b"]
    curve = dict(zip(found["b"]["x"], found["b"]["y"], strict=True))
    assert curve == {1: 0.75, 2: 0.5, 4: 0.5}
    assert (found["b"]["parted"], found["b"]["prompts"]) == (2, 4)


def test_without_a_reference_there_is_no_share_of_equal_answers() -> None:
    assert parting(measured_of([answer("p", target="b")], reference=None)) == {}
