"""Evaluations from their tasks to their results, over the emulators and the bundled model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from phi2sdk.config import Target
from phi2sdk.emulator import Emulator, Fault
from phi2sdk.errors import ConfigurationError
from phi2sdk.evaluate import Evaluation, EvaluationSession, evaluate
from phi2sdk.measure.evaluations import TaskResult, read_evaluations
from tests.evaluate.conftest import LOCAL

CHOOSE, WRITE = "demo_yes_no", "demo_exact_match"
WRITTEN = f"{CHOOSE}_generative"


def found(evaluation: Evaluation) -> dict[tuple[str, str], TaskResult]:
    return {(one.task, one.target): one for one in evaluation.results}


def answers(folder: Path) -> dict[str, str | None]:
    """The recorded answer to each question, by its id."""
    lines = map(json.loads, (folder / "journal.jsonl").read_text().splitlines())
    return {line["id"]: line.get("text") for line in lines if "n" in line}


@pytest.fixture(scope="module")
def everywhere(
    targets: Mapping[str, Target], tmp_path_factory: pytest.TempPathFactory
) -> Evaluation:
    """One run of two tasks on every provider."""
    out = tmp_path_factory.mktemp("evaluate") / "run"
    return asyncio.run(evaluate(list(targets.values()), [CHOOSE, WRITE], out, limit=20))


def test_targets_that_tell_likelihoods_agree_item_by_item(everywhere: Evaluation) -> None:
    results, said = found(everywhere), answers(everywhere.folder)
    local = results[CHOOSE, "local"]
    assert (local.method, len(local.items)) == ("likelihood", 20)
    assert {target for task, target in results if task == CHOOSE} == {"local", "openai", "hf"}
    for name in ("openai", "hf"):
        assert results[CHOOSE, name].items == local.items
    for id, text in said.items():
        target, task, rest = id.split("/", 2)
        if task == CHOOSE and text is not None:
            own, there = (
                json.loads(said[f"{one}/{task}/{rest}"] or "") for one in ("local", target)
            )
            assert there[0] == pytest.approx(own[0], abs=1e-4)
            assert there[1] in (own[1], None)


def test_all_targets_answer_the_generative_variant_if_one_tells_no_likelihoods(
    everywhere: Evaluation, targets: Mapping[str, Target]
) -> None:
    results = found(everywhere)
    local = results[WRITTEN, "local"]
    assert local.method == "generative"
    assert local.not_comparable is not None
    assert {target for task, target in results if task == WRITTEN} == set(targets)
    for name in targets:
        assert results[WRITTEN, name].items == local.items, name


def test_every_target_generates_the_same_texts(
    everywhere: Evaluation, targets: Mapping[str, Target]
) -> None:
    results, said = found(everywhere), answers(everywhere.folder)
    local = results[WRITE, "local"]
    assert 0.2 < local.aggregate["exact_match"] <= 1
    for name in targets:
        assert results[WRITE, name].items == local.items
        texts = [said[f"{name}/{WRITE}/{item.item}/0"] for item in local.items]
        assert texts == [said[f"local/{WRITE}/{item.item}/0"] for item in local.items]


def test_the_results_count_calls_tokens_cost_and_time(everywhere: Evaluation) -> None:
    results = found(everywhere)
    there, here = results[CHOOSE, "openai"], results[CHOOSE, "local"]
    assert (there.calls, here.calls) == (40, 40)
    assert there.input_tokens == here.input_tokens
    assert there.cost_usd == pytest.approx((there.input_tokens or 0) * 1e-6 + 40 * 2e-6)
    assert here.cost_usd is None
    assert all(one.seconds > 0 for one in results.values())
    assert everywhere.usd == pytest.approx(sum(one.cost_usd or 0.0 for one in results.values()))


def test_the_folder_has_the_results_task_by_task(everywhere: Evaluation) -> None:
    assert read_evaluations(everywhere.folder) == everywhere.results
    tasks = [one.task for one in everywhere.results]
    assert tasks == sorted(tasks, key=[CHOOSE, WRITTEN, WRITE].index)
    document = json.loads((everywhere.folder / "evaluation.json").read_text())
    assert document["configuration"]["targets"]["openai"]["settings"]["api_key"] == "(secret)"
    assert document["versions"]["lm_eval"]


async def test_tasks_have_their_order_if_the_first_target_tells_no_likelihoods(
    targets: Mapping[str, Target], tmp_path: Path
) -> None:
    both = [targets["azure"], LOCAL]
    found = await evaluate(both, [CHOOSE, WRITE], tmp_path / "run", limit=2)
    assert [(one.task, one.target) for one in found.results] == [
        (CHOOSE, "local"),
        (WRITTEN, "azure"),
        (WRITTEN, "local"),
        (WRITE, "azure"),
        (WRITE, "local"),
    ]


async def test_a_limit_makes_a_score_incomparable(tmp_path: Path) -> None:
    (result,) = (await evaluate(LOCAL, CHOOSE, tmp_path / "run", limit=2)).results
    assert result.not_comparable == "Only 2 of 400 items were asked."


async def test_a_failed_item_has_its_error_and_is_asked_again_on_resume(
    hosted: Emulator, targets: Mapping[str, Target], tmp_path: Path
) -> None:
    hosted.openai.faults.push(Fault("status", status=400), times=1)
    far, out = targets["openai"], tmp_path / "run"
    first = await evaluate(far, WRITE, out, limit=4, concurrency=1)
    assert first.failed == 1
    (result,) = first.results
    assert [item.error for item in result.items] == ["InvalidRequest", None, None, None]
    second = await evaluate(far, WRITE, out, limit=4, resume=True)
    assert (second.failed, second.calls) == (0, 5)
    (result,) = second.results
    assert result.calls == 5
    assert all(item.error is None for item in result.items)


async def test_a_failed_call_for_log_probabilities_is_retried(
    hosted: Emulator, targets: Mapping[str, Target], tmp_path: Path
) -> None:
    hosted.openai.faults.push(Fault("status", status=503), times=1)
    made = await evaluate(targets["openai"], CHOOSE, tmp_path / "run", limit=2)
    assert (made.failed, made.calls) == (0, 5)


async def test_the_budget_stops_the_run_and_a_larger_one_continues_it(
    targets: Mapping[str, Target], tmp_path: Path
) -> None:
    far, out = targets["openai"], tmp_path / "run"
    first = await evaluate([LOCAL, far], CHOOSE, out, limit=4, budget_usd=0.0004, concurrency=1)
    assert first.stopped == "budget"
    assert 0 < first.answered < 8
    assert (first.usd or 0.0) <= 0.0004
    second = await evaluate([LOCAL, far], CHOOSE, out, limit=4, budget_usd=1.0, resume=True)
    assert (second.stopped, second.answered, second.calls) == (None, 16, 16)
    assert found(second)[CHOOSE, "openai"].items == found(second)[CHOOSE, "local"].items


async def test_a_budget_cannot_be_set_for_a_run_with_calls_that_it_did_not_count(
    targets: Mapping[str, Target], tmp_path: Path
) -> None:
    far, out = targets["openai"], tmp_path / "run"
    await evaluate(far, WRITE, out, limit=1)
    with pytest.raises(ConfigurationError, match="a session without a budget"):
        await evaluate(far, WRITE, out, limit=1, budget_usd=1.0, resume=True)


async def test_a_finished_run_asks_nothing_again(
    hosted: Emulator, targets: Mapping[str, Target], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = await evaluate(targets["openai"], WRITE, out, limit=3)
    calls = len(hosted.openai.calls)
    again = await evaluate(targets["openai"], WRITE, out, limit=3, resume=True)
    assert again.results == first.results
    assert [call.method for call in hosted.openai.calls[calls:] if call.method == "POST"] == []


async def test_the_estimate_comes_before_anything_is_sent(
    hosted: Emulator, targets: Mapping[str, Target], tmp_path: Path
) -> None:
    calls = sum(call.method == "POST" for call in hosted.openai.calls)
    session = EvaluationSession(
        targets=[LOCAL, targets["openai"]], tasks=[CHOOSE], out=tmp_path / "run", limit=5
    )
    async with session:
        here, there = await session.prepare()
    assert (here.calls, there.calls, there.output_tokens) == (10, 10, 10)
    assert (here.usd, here.most_usd) == (None, None)
    assert there.usd == pytest.approx(there.input_tokens * 1e-6 + 20e-6)
    assert there.most_usd is not None
    assert there.most_usd > there.input_tokens * 1e-6 + 20e-6
    assert session.planned == {CHOOSE: ("accuracy",)}
    assert sum(call.method == "POST" for call in hosted.openai.calls) == calls
