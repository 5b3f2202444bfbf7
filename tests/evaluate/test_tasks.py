"""Tasks by name, their data, groups, and the generative variant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from phi2sdk.errors import ConfigurationError
from phi2sdk.evaluate.data import LocalData, local_data, with_data
from phi2sdk.evaluate.harness import GenerativeTask, GroupTask, HarnessTask, chosen
from phi2sdk.evaluate.questions import Generation, Likelihood, Likely, cut, question_of
from phi2sdk.evaluate.tasks import load_tasks
from phi2sdk.sampling import Sampling

CHOICE: Mapping[str, Any] = {
    "task": "sea",
    "output_type": "multiple_choice",
    "test_split": "test",
    "fewshot_split": "train",
    "doc_to_text": "{{question}}",
    "doc_to_choice": ["no", "yes"],
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc"}],
}
ROWS = [
    {"question": "Is the sea wet?", "answer": 1},
    {"question": "Is the sea dry?", "answer": 0},
    {"question": "Is the sea salty?", "answer": 1},
]


def jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def made(
    tmp_path: Path,
    shots: int = 0,
    rows: Sequence[Mapping[str, object]] = ROWS,
    **changes: Any,
) -> HarnessTask:
    """A task of the harness with data in files."""
    from lm_eval.api.task import ConfigurableTask

    files = {split: [jsonl(tmp_path / f"{split}.jsonl", rows)] for split in ("test", "train")}
    config = with_data("sea", {**CHOICE, **changes, "num_fewshot": shots}, LocalData(files))
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(seed=1234)
    return HarnessTask("sea", task)


def test_a_task_asks_for_the_log_likelihood_of_each_choice(tmp_path: Path) -> None:
    task = made(tmp_path)
    assert (task.method, task.size, task.metrics) == ("likelihood", 3, ("accuracy",))
    asked = task.items[0].questions
    assert asked == (
        Likelihood("Is the sea wet?", " no"),
        Likelihood("Is the sea wet?", " yes"),
    )


def test_examples_come_before_the_question(tmp_path: Path) -> None:
    (first, _) = made(tmp_path, shots=2).items[0].questions
    assert isinstance(first, Likelihood)
    assert first.context.endswith("\n\nIs the sea wet?")
    assert first.context.count("?") == 3


def replies(*logprobs: tuple[float, float]) -> list[list[Likely]]:
    return [[Likely(a, None, 1), Likely(b, None, 1)] for a, b in logprobs]


def test_the_score_is_the_share_of_items_whose_correct_choice_is_most_likely(
    tmp_path: Path,
) -> None:
    scores = made(tmp_path).score(replies((-2.0, -1.0), (-2.0, -1.0), (-5.0, -1.0)))
    assert [item.values for item in scores.items] == [
        {"accuracy": 1.0},
        {"accuracy": 0.0},
        {"accuracy": 1.0},
    ]
    assert scores.aggregate == {"accuracy": pytest.approx(2 / 3)}


def test_a_failed_item_has_its_error_and_does_not_count(tmp_path: Path) -> None:
    answered = replies((-2.0, -1.0), (-2.0, -1.0))
    scores = made(tmp_path).score([answered[0], "RateLimited", answered[1]])
    assert [item.error for item in scores.items] == [None, "RateLimited", None]
    assert scores.aggregate == {"accuracy": 1.0}
    assert made(tmp_path).score(["Timeout"] * 3).aggregate == {}


def test_a_metric_that_needs_the_most_likely_tokens_fails_without_them(tmp_path: Path) -> None:
    task = made(tmp_path, metric_list=[{"metric": "exact_match"}])
    known = [[Likely(-1.0, False, 1), Likely(-2.0, True, 1)] for _ in ROWS]
    assert task.score(known).aggregate == {"exact_match": pytest.approx(2 / 3)}
    scores = task.score([*known[:2], replies((-1.0, -2.0))[0]])
    assert [item.error for item in scores.items] == [None, None, "MostLikelyTokensUnknown"]


def test_a_group_weighs_its_tasks_by_their_items_or_equally(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one"), made(tmp_path / "other", rows=ROWS[:1])
    other.name = "air"
    right, wrong = replies((-2.0, -1.0), (-1.0, -2.0))
    given = [right, wrong, right, wrong]
    for weighted, expected in ((True, 3 / 4), (False, 1 / 2)):
        group = GroupTask("world", [one, other], weighted=weighted)
        assert [item.id for item in group.items] == ["sea/0", "sea/1", "sea/2", "air/0"]
        scores = group.score(given)
        assert scores.aggregate == {"accuracy": pytest.approx(expected)}
        assert [item.item for item in scores.items] == [item.id for item in group.items]


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        (" yes", "yes"),
        ("Yes, it is.", "yes"),
        ("\n\n NO\nyes", "no"),
        ("yesterday", None),
        ("I think yes", None),
        ("", None),
    ],
)
def test_a_written_choice_is_that_with_which_the_first_line_begins(
    answer: str, choice: str | None
) -> None:
    assert chosen(answer, ["no", "yes"]) == choice


def test_the_longest_choice_counts() -> None:
    assert chosen(" the sea lion", ["the sea", "the sea lion"]) == "the sea lion"


def test_the_generative_variant_has_another_name_and_asks_once(tmp_path: Path) -> None:
    variant = made(tmp_path).generative(len)
    assert isinstance(variant, GenerativeTask)
    assert (variant.name, variant.method) == ("sea_generative", "generative")
    (question,) = variant.items[0].questions
    assert isinstance(question, Generation)
    assert question.context == "Is the sea wet?"
    scores = variant.score([[" yes"], [" yes"], "Timeout"])
    assert scores.aggregate == {"accuracy": 0.5}
    assert [item.error for item in scores.items] == [None, None, "Timeout"]


def test_a_generated_text_keeps_its_indentation_and_ends_at_the_first_stop() -> None:
    assert cut("    return x\n\ndef f():\n# y", ["\n#", "\ndef"]) == "    return x\n"
    assert cut("  x  ", []) == "  x  "


def test_arguments_of_a_generation_become_a_sampling() -> None:
    given = {"until": ["\n", "\n", ""], "max_gen_toks": 9, "do_sample": False, "temperature": 0.7}
    asked = question_of("generate_until", ("Hi", given))
    assert asked == Generation("Hi", Sampling(max_tokens=9, temperature=0.0, stop=("\n",)))
    sampled = question_of("generate_until", ("Hi", {"do_sample": True, "temperature": 0.8}))
    assert sampled == Generation("Hi", Sampling(temperature=0.8))
    with pytest.raises(ConfigurationError, match="sets the parameter penalty_alpha"):
        question_of("generate_until", ("Hi", {"until": "x", "penalty_alpha": 0.6}))
    with pytest.raises(ConfigurationError, match="requests of type 'multiple'"):
        question_of("multiple", ())


def test_local_data_are_found_by_task_and_by_data_set(tmp_path: Path) -> None:
    config = {**CHOICE, "dataset_path": "ocean/all", "dataset_name": "sea_v1"}
    assert local_data(tmp_path, "sea", config) is None
    whole = jsonl(tmp_path / "ocean" / "all.jsonl", ROWS)
    assert local_data(tmp_path, "sea", config) == LocalData({"test": [whole]})
    test = jsonl(tmp_path / "ocean" / "all" / "sea_v1" / "test.jsonl", ROWS)
    assert local_data(tmp_path, "sea", config) == LocalData({"test": [test]})
    own = jsonl(tmp_path / "sea" / "train.jsonl", ROWS)
    assert local_data(tmp_path, "sea", config) == LocalData({"train": [own]})
    with pytest.raises(ConfigurationError, match="the data of sea have no split test"):
        with_data("sea", config, LocalData({"train": [own]}))


def test_parquet_and_json_lines_have_the_same_items(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    lines = jsonl(tmp_path / "test.jsonl", ROWS)
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "test-00000.parquet")
    config = {**CHOICE, "dataset_path": None}
    (tmp_path / "sea").mkdir()
    (tmp_path / "test-00000.parquet").rename(tmp_path / "sea" / "test-00000-of-00001.parquet")
    found = local_data(tmp_path, "sea", config)
    assert found is not None
    assert list(found()["test"]) == list(LocalData({"test": [lines]})()["test"]) == ROWS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1}\n{"a": ', "line 2: it is not JSON"),
        ("[1]\n", "line 1: it is not an object"),
        ('{"a": 1}\n{"a": [2]}\n', "a type for each column"),
    ],
)
def test_a_wrong_line_of_data_is_named(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=f"test.jsonl.*{why}"):
        LocalData({"test": [path]})()


def test_data_of_a_folder_replace_those_of_a_task(tmp_path: Path) -> None:
    rows = [{"passage": "x yes", "question": "x", "answer": 1}]
    jsonl(tmp_path / "demo_yes_no.jsonl", rows)
    (task,) = load_tasks(["demo_yes_no"], data=tmp_path)
    (question, _) = task.items[0].questions
    assert isinstance(question, Likelihood)
    assert "x yes" in question.context
    with pytest.raises(ConfigurationError, match="there is no folder"):
        load_tasks(["demo_yes_no"], data=tmp_path / "nowhere")


def test_tasks_of_the_harness_read_local_data_and_unknown_names_are_refused(
    tmp_path: Path,
) -> None:
    """One test, since the index of the harness takes seconds to read."""
    rows = [{"passage": "The sea is wet.", "question": "is the sea wet", "label": 1}]
    jsonl(tmp_path / "boolq" / "validation.jsonl", rows)
    (task,) = load_tasks(["boolq"], data=tmp_path)
    assert task.items[0].questions == (
        Likelihood("The sea is wet.\nQuestion: is the sea wet?\nAnswer:", " no"),
        Likelihood("The sea is wet.\nQuestion: is the sea wet?\nAnswer:", " yes"),
    )
    with pytest.raises(ConfigurationError, match=r"no task 'boolqq'\. Did you mean boolq\?"):
        load_tasks(["boolqq"])
    with pytest.raises(ConfigurationError, match=r"phi2 evaluate fetch piqa.*--data"):
        load_tasks(["piqa"], data=tmp_path)
