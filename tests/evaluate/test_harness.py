"""Scores are equal to those of the harness itself, item by item."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from phi2sdk.demo import checkpoint_path
from phi2sdk.errors import Phi2Error
from phi2sdk.evaluate import Evaluation, evaluate
from phi2sdk.evaluate.adapter import HarnessModel
from phi2sdk.evaluate.harness import HarnessTask
from phi2sdk.evaluate.tasks import load_tasks
from tests.evaluate.conftest import LOCAL

TASKS = ("demo_yes_no", "demo_multiple_choice", "demo_exact_match", "demo_arithmetic")
LIMIT = 24
NAMES = {"acc": "accuracy", "acc_norm": "accuracy_normalized", "exact_match": "exact_match"}


@contextmanager
def quiet() -> Iterator[None]:
    """The harness warns about its own defaults, and transformers about its own."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    out = tmp_path_factory.mktemp("ours") / "run"
    return asyncio.run(evaluate(LOCAL, TASKS, out, limit=LIMIT))


@pytest.fixture(scope="module")
def model() -> Any:
    """The harness's own model, on the same checkpoint; it takes seconds to import."""
    with quiet():
        from lm_eval.models.huggingface import HFLM

        return HFLM(pretrained=str(checkpoint_path()), dtype="float32", device="cpu", batch_size=16)


@pytest.fixture(scope="module")
def theirs(model: Any) -> Mapping[str, Any]:
    """The samples and scores of the harness with its own model."""
    return by_harness(model, TASKS, LIMIT)


def by_harness(model: Any, names: Sequence[str], limit: int) -> Mapping[str, Any]:
    with quiet():
        from lm_eval.evaluator import evaluate as evaluate_with

        tasks = {}
        for one in load_tasks(names, limit=1):
            assert isinstance(one, HarnessTask)
            one.task.set_fewshot_seed(seed=1234)  # loading has used the generator
            tasks[one.name] = one.task
        found: Mapping[str, Any] = evaluate_with(
            model, {"tasks": tasks}, limit=limit, bootstrap_iters=0
        )
        return found


def recorded(evaluation: Evaluation) -> dict[str, str]:
    lines = map(json.loads, (evaluation.folder / "journal.jsonl").read_text().splitlines())
    return {line["id"]: line["text"] for line in lines if "n" in line}


def test_every_metric_is_equal_to_that_of_the_harness_on_every_item(
    ours: Evaluation, theirs: Mapping[str, Any]
) -> None:
    compared = 0
    for result in ours.results:
        samples = theirs["samples"][result.task]
        assert [str(one["doc_id"]) for one in samples] == [item.item for item in result.items]
        for one, item in zip(samples, result.items, strict=True):
            expected = {NAMES[name]: one[name] for name in one["metrics"]}
            assert item.values == expected, (result.task, item.item)
            compared += len(expected)
        for name, score in theirs["results"][result.task].items():
            metric, _, filter = name.partition(",")
            if filter and not metric.endswith("_stderr"):
                assert result.aggregate[NAMES[metric]] == pytest.approx(score, abs=1e-12)
    assert compared == LIMIT * (len(TASKS) + 1)


def test_log_likelihoods_are_within_1e_4_of_the_harness_and_texts_are_equal(
    ours: Evaluation, theirs: Mapping[str, Any]
) -> None:
    said, differences, texts = recorded(ours), [], 0
    for task, samples in theirs["samples"].items():
        for sample in samples:
            for at, (reply,) in enumerate(sample["resps"]):
                own = said[f"local/{task}/{sample['doc_id']}/{at}"]
                if isinstance(reply, str):
                    assert own == reply
                    texts += 1
                else:
                    logprob, greedy, _ = json.loads(own)
                    differences.append(abs(logprob - reply[0]))
                    assert greedy == reply[1]
    assert texts == 2 * LIMIT
    assert len(differences) >= 5 * LIMIT
    assert max(differences) < 1e-4


def instances(kind: str, *arguments: tuple[object, ...]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, one, n) for n, one in enumerate(arguments)]


LONG = "The moon pulls the sea, and the tides rise. " * 60
"""More tokens than the context of the bundled model."""


def test_the_adapter_answers_the_harness_like_its_own_model(model: Any) -> None:
    """Also an empty context, one that ends in a space, and texts longer than the context."""
    pairs = instances(
        "loglikelihood",
        ("The tides", " rise."),
        ("The tides ", "rise."),
        ("", "The tides rise."),
        (LONG, " The tides rise."),
        ("Name: café", "s, naïve"),
    )
    texts = instances("loglikelihood_rolling", ("The tides rise.",), (LONG,))
    kwargs = {"until": ["\n", "Instruct"], "max_gen_toks": 16, "do_sample": False}
    prompts = instances("generate_until", ("Instruct: Write.\nOutput:", kwargs), (LONG, kwargs))
    with quiet():
        own = model.loglikelihood(pairs), model.loglikelihood_rolling(texts)
        written = model.generate_until(prompts)
    with HarnessModel(LOCAL) as ours:
        for (a, a_greedy), (b, b_greedy) in zip(ours.loglikelihood(pairs), own[0], strict=True):
            assert a == pytest.approx(b, abs=1e-4)
            assert a_greedy == b_greedy
        assert ours.loglikelihood_rolling(texts) == pytest.approx(own[1], abs=2e-3)
        assert ours.generate_until(prompts) == written
    with pytest.raises(Phi2Error, match="closed"):
        ours.generate_until(prompts)


def test_the_adapter_raises_the_error_of_a_failed_request() -> None:
    wanted = {"until": [], "max_gen_toks": 100_000}
    with HarnessModel(LOCAL) as ours, pytest.raises(Phi2Error, match="ContextLengthExceeded"):
        ours.generate_until(instances("generate_until", ("The tides", wanted)))
