"""The published scores of Phi-2, and the tasks of the harness (lm_eval) that they are scores of.

There are two sources. The announcement of the model states the number of examples in the prompts of
five benchmarks and no prompt at all, nor how answers were sampled. The Open LLM Leaderboard was
measured with the harness. A score is compared with a figure if its task has the prompt that the
authors of the benchmark published, with the number of examples that the source states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = ["SUITES", "Published", "Suite", "published"]

_ARTICLE = "Phi-2: The surprising power of small language models (Microsoft Research, 2023-12-12)"
_ARTICLE_URL = (
    "https://www.microsoft.com/en-us/research/blog/"
    "phi-2-the-surprising-power-of-small-language-models/"
)
_LEADERBOARD = "Open LLM Leaderboard, first version, as a revision of the model card quotes it"
_LEADERBOARD_URL = (
    "https://huggingface.co/microsoft/phi-2/blame/"
    "a63f2837163af93dd4996b75fe4b20878aac4cab/README.md"
)


@dataclass(frozen=True, slots=True)
class Published:
    """A published score.

    Attributes:
        name: What it is a score of, as in the source.
        value: The score, between 0 and 1.
        metric: The metric of the task that it is compared with.
        shots: Examples in each prompt; ``None`` if the source does not state them.
        note: What the source states beside it.
        reason: Why no score can be compared with it; ``None`` if one can.
        source, url: Where it was published.
    """

    name: str
    value: float
    metric: str
    shots: int | None
    note: str = ""
    reason: str | None = None
    source: str = _ARTICLE
    url: str = _ARTICLE_URL


@dataclass(frozen=True, slots=True)
class Suite:
    """Tasks of the publication under one name.

    Attributes:
        tasks: Names of tasks with the examples in each prompt; ``None`` for those of the task.
        mean: Whether the suite has one score, the mean of its tasks, as in the publication.
    """

    tasks: tuple[tuple[str, int | None], ...]
    mean: bool = False


_UNKNOWN = "The source does not state the number of examples in the prompts."
_COMMONSENSE = ("piqa", "winogrande", "arc_easy", "arc_challenge", "social_iqa")


def _on_leaderboard(name: str, value: float, metric: str, shots: int) -> Published:
    return Published(name, value, metric, shots, source=_LEADERBOARD, url=_LEADERBOARD_URL)


_GSM8K = Published("GSM8K", 0.611, "exact_match_strict_match", 8)

SUITES: Mapping[str, Suite] = {
    "phi2-commonsense": Suite(tuple((task, 0) for task in _COMMONSENSE), mean=True),
    "phi2-coding": Suite((("humaneval", 0), ("mbpp", 3)), mean=True),
    "phi2-published": Suite(
        (
            ("bbh_cot_fewshot", 3),
            *((task, 0) for task in _COMMONSENSE),
            ("hellaswag", 0),
            ("openbookqa", 0),
            ("mmlu", 5),
            ("squadv2", 2),
            ("boolq", 0),
            ("gsm8k_cot", 8),
            ("humaneval", 0),
            ("mbpp", 3),
        )
    ),
    "phi2-leaderboard": Suite(
        (
            ("arc_challenge", 25),
            ("hellaswag", 10),
            ("mmlu", 5),
            ("truthfulqa_mc2", 0),
            ("winogrande", 5),
        )
    ),
}
"""The benchmarks of each source. Where it states no examples, the prompts have none."""

FIGURES: Mapping[str, Published] = {
    "bbh_cot_fewshot": Published(
        "BBH", 0.592, "exact_match", 3, "With chain of thought; 59.3 in another table."
    ),
    "phi2-commonsense": Published(
        "commonsense reasoning",
        0.688,
        "accuracy",
        None,
        "Mean of PIQA, WinoGrande, ARC easy, ARC challenge and SIQA.",
        _UNKNOWN,
    ),
    "mmlu": Published("MMLU", 0.567, "accuracy", 5, "58.1 on the Open LLM Leaderboard."),
    "boolq": Published("BoolQ", 0.833, "accuracy", None, reason=_UNKNOWN),
    "gsm8k_cot": _GSM8K,
    "gsm8k": replace(
        _GSM8K, reason="The published prompt has 8 examples, which is the task gsm8k_cot."
    ),
    "phi2-coding": Published(
        "coding", 0.537, "pass_at_1", 3, "Mean of HumanEval and MBPP, with 3 examples in MBPP."
    ),
    "mbpp": Published("MBPP", 0.591, "pass_at_1", 3),
    "arc_challenge": _on_leaderboard("ARC challenge", 0.6109, "accuracy_normalized", 25),
    "hellaswag": _on_leaderboard("HellaSwag", 0.7511, "accuracy_normalized", 10),
    "truthfulqa_mc2": _on_leaderboard("TruthfulQA", 0.4447, "accuracy", 0),
    "winogrande": _on_leaderboard("WinoGrande", 0.7435, "accuracy", 5),
}
"""The figures by task or suite."""


def published(task: str) -> Published | None:
    """Return the published score of a task; ``None`` if there is none.

    Args:
        task: The name of a task or of a suite.
    """
    return FIGURES.get(task)
