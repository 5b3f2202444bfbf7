"""Tasks of the harness (lm_eval): their questions, and the scores of the replies.

Prompts, filters and metrics are those of the harness. Only the requests are sent by this package,
so that a score is equal to that of the harness if the replies are equal.
"""

from __future__ import annotations

import math
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from phi2sdk.errors import ConfigurationError
from phi2sdk.evaluate.code import pass_at_1
from phi2sdk.evaluate.questions import Generation, Likelihood, Question, Reply, question_of
from phi2sdk.measure.evaluations import ItemResult, Method
from phi2sdk.sampling import Sampling

__all__ = ["EvaluationTask", "GenerativeTask", "GroupTask", "HarnessTask", "Item", "Scores"]


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a task.

    Attributes:
        id: Its id, equal for all targets.
        questions: What a target is asked about it.
    """

    id: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of the replies of one target, as in a ``TaskResult``.

    Attributes:
        items: The values of each item.
        lower_is_better: The metrics of which lower values are better.
        aggregate: Score of each metric.
    """

    items: tuple[ItemResult, ...]
    lower_is_better: frozenset[str]
    aggregate: Mapping[str, float]


Replies = Sequence[Reply] | str
"""The replies to the questions of one item; a failed item has the type of the error instead."""


class EvaluationTask(ABC):
    """A task: its items, and the scores of the replies to their questions.

    Attributes:
        name: Its name.
        method: How answers are chosen.
        items: The items that are asked.
        metrics: Names of its metrics; the first is the main metric.
        shots: Examples in each prompt.
        size: Number of items of the whole task.
        executes: Whether answers are programs that are executed.
    """

    name: str
    method: Method
    items: Sequence[Item]
    metrics: tuple[str, ...]
    shots: int
    size: int
    executes: bool = False

    @abstractmethod
    def score(self, replies: Sequence[Replies]) -> Scores:
        """Return the scores of the replies to all items, in their order."""

    def generative(self, count: Callable[[str], int]) -> EvaluationTask | None:
        """Return the variant for targets that tell no likelihoods; ``None`` if there is none.

        Args:
            count: Returns the number of tokens of a text.
        """
        return None


class HarnessTask(EvaluationTask):
    """A task of the harness.

    Args:
        name: Its name.
        task: The task object of the harness, with the number of shots set.
        limit: Largest number of items.
    """

    def __init__(self, name: str, task: Any, limit: int | None = None) -> None:
        self.name = name
        self.task = task
        self.shots = int(task.get_config("num_fewshot") or 0)
        self.size = len(task.eval_docs)
        self.executes = task.get_config("process_results") is pass_at_1
        self._docs: list[Any] = []
        self._instances: list[list[Any]] = []
        for doc, instances in islice(self._asked(), limit):
            self._docs.append(doc)
            self._instances.append(instances)
        self.items = [
            Item(str(n), tuple(question_of(one.request_type, one.args) for one in instances))
            for n, instances in enumerate(self._instances)
        ]
        if not self.items:
            raise ConfigurationError(f"the task {name} has no items. Check its data")
        generated = isinstance(self.items[0].questions[0], Generation)
        self.method: Method = "generation" if generated else "likelihood"
        named = [
            self._named(metric, filter.name)
            for metric in task.aggregation()
            for filter in task._filters
        ]
        self.metrics = tuple(dict.fromkeys(named))

    def score(self, replies: Sequence[Replies]) -> Scores:
        """Return the scores of the replies to all items, in their order."""
        replies = list(replies)
        answered = [n for n, one in enumerate(replies) if not isinstance(one, str)]
        columns: dict[str, dict[int, Any]] = {}
        filters = self._filtered(answered, replies) if answered else []
        for filter in filters:
            for n in answered:
                given = [one.filtered_resps[filter] for one in self._asked_about(n)]
                try:
                    found = self.task.process_results(self._docs[n], given)
                except _UnknownGreedyUsed:
                    replies[n] = "MostLikelyTokensUnknown"
                    continue
                for metric, value in found.items():
                    columns.setdefault(self._named(metric, filter), {})[n] = metric, value
        self.metrics = tuple(dict.fromkeys((*self.metrics, *columns)))
        aggregate: dict[str, float] = {}
        items: list[dict[str, float]] = [{} for _ in replies]
        for name, found in columns.items():
            combine = self.task.aggregation().get(next(iter(found.values()))[0], _mean)
            score = _number(combine, [value for _, value in found.values()])
            if score is not None:
                aggregate[name] = score
            for n, (_, value) in found.items():
                own = _number(combine, [value])
                if own is not None:
                    items[n][name] = own
        lower = {
            self._named(metric, filter.name)
            for metric, higher in self.task.higher_is_better().items()
            for filter in self.task._filters
            if higher is False
        }
        return Scores(
            tuple(
                ItemResult(item.id, values, _error(one, values))
                for item, values, one in zip(self.items, items, replies, strict=True)
            ),
            frozenset(lower & set(self.metrics)),
            aggregate,
        )

    def generative(self, count: Callable[[str], int]) -> EvaluationTask | None:
        """Return the variant for targets that tell no likelihoods; ``None`` if there is none."""
        choosing = self.task.OUTPUT_TYPE in ("multiple_choice", "loglikelihood")
        if not choosing or getattr(self.task, "multiple_input", False):
            return None
        return GenerativeTask(self, self._gold, count)

    def _asked(self) -> Iterator[tuple[Any, list[Any]]]:
        """Yield each document with the requests of the harness about it."""
        for n, doc in self.task.doc_iterator(rank=0, limit=None, world_size=1):
            context = self.task.fewshot_context(
                doc,
                num_fewshot=self.shots,
                system_instruction=None,
                apply_chat_template=False,
                fewshot_as_multiturn=False,
                chat_template=None,
                gen_prefix=self.task.doc_to_prefix(doc),
            )
            repeats = self.task.get_config("repeats") or 1
            made = self.task.construct_requests(
                doc=doc, ctx=context, metadata=(self.name, n, repeats), chat_template=None
            )
            instances = made if isinstance(made, list) else [made]
            yield doc, [one for one in instances for _ in range(repeats)]

    def _asked_about(self, n: int) -> list[Any]:
        """Return the requests about an item, each once, in their order."""
        distinct = {id(one): one for one in self._instances[n]}
        return sorted(distinct.values(), key=lambda one: one.idx)

    def _filtered(self, answered: Sequence[int], replies: Sequence[Replies]) -> list[str]:
        """Give the replies to the requests, apply the filters, and return the filters' names."""
        for n in answered:
            for instance in self._asked_about(n):
                instance.resps, instance.filtered_resps = [], {}
            for instance, reply in zip(self._instances[n], replies[n], strict=True):
                instance.resps.append(self._for_harness(reply))
        self.task._instances = [one for n in answered for one in self._asked_about(n)]
        self.task.apply_filters()
        return list(self.task._instances[0].filtered_resps)

    def _for_harness(self, reply: Reply | str) -> Any:
        """Return a reply as the harness represents it."""
        if isinstance(reply, str):
            return reply
        if self.task.OUTPUT_TYPE == "loglikelihood_rolling":
            return reply.logprob
        if reply.greedy is not None or not self._needs_greedy:
            return reply.logprob, bool(reply.greedy)
        return reply.logprob, _UnknownGreedy()

    @property
    def _needs_greedy(self) -> bool:
        """Return whether a metric asks if greedy decoding generates the continuation."""
        metrics = getattr(self.task, "_metric_fn_list", {})
        own = callable(self.task.get_config("process_results"))
        return own or ("acc" if self.task.OUTPUT_TYPE == "loglikelihood" else "exact_match") in (
            metrics
        )

    def _named(self, metric: str, filter: str) -> str:
        """Return the name of a metric in reports; with the filter if the task has several."""
        name = _NAMES.get(metric, metric)
        several = len(getattr(self.task, "_filters", ())) > 1
        return re.sub(r"\W+", "_", f"{name}_{filter}" if several else name).strip("_")

    def _gold(self, n: int) -> list[int]:
        """Return the numbers of the correct choices of an item."""
        if self.task.OUTPUT_TYPE == "loglikelihood":
            return [0]
        gold = self.task.doc_to_target(self._docs[n])
        choices = self.task.doc_to_choice(self._docs[n])
        several = gold if isinstance(gold, list) else [gold]
        return [choices.index(one) if isinstance(one, str) else int(one) for one in several]


class GenerativeTask(EvaluationTask):
    """The variant of a task for targets that tell no likelihoods: the target writes its choice.

    The first line of the answer counts as the longest choice with which it begins, whatever the
    case and the white space before it. An answer that begins with no choice is wrong.

    Args:
        task: The task.
        gold: Returns the numbers of the correct choices of an item.
        count: Returns the number of tokens of a text.
    """

    method: Method = "generative"
    metrics = ("accuracy",)

    def __init__(
        self, task: HarnessTask, gold: Callable[[int], list[int]], count: Callable[[str], int]
    ) -> None:
        self.name = f"{task.name}_generative"
        self.shots, self.size = task.shots, task.size
        self.items = []
        self._correct: list[list[str]] = []
        self._choices: list[list[str]] = []
        for n, item in enumerate(task.items):
            first = item.questions[0]
            assert isinstance(first, Likelihood)
            choices = [
                one.continuation.strip()
                for one in item.questions
                if isinstance(one, Likelihood) and one.context == first.context
            ]
            longest = max(count(f" {choice}") for choice in choices)
            sampling = Sampling(max_tokens=longest + _SPARE_TOKENS, stop=("\n\n",))
            self.items.append(Item(item.id, (Generation(first.context, sampling),)))
            self._choices.append(choices)
            self._correct.append([choices[one] for one in gold(n)])

    def score(self, replies: Sequence[Replies]) -> Scores:
        """Return the scores of the replies to all items, in their order."""
        found = []
        for n, given in enumerate(replies):
            values = {}
            if not isinstance(given, str):
                assert isinstance(given[0], str)
                values["accuracy"] = float(chosen(given[0], self._choices[n]) in self._correct[n])
            found.append(ItemResult(self.items[n].id, values, _error(given, values)))
        known = [one.values["accuracy"] for one in found if one.values]
        aggregate = {"accuracy": _mean(known)} if known else {}
        return Scores(tuple(found), frozenset(), aggregate)


class GroupTask(EvaluationTask):
    """Several tasks that the harness combines into one score.

    Args:
        name: Name of the group.
        tasks: The tasks.
        weighted: Whether a task counts by its number of items, and not each task the same.
    """

    def __init__(self, name: str, tasks: Sequence[EvaluationTask], *, weighted: bool) -> None:
        self.name = name
        self.tasks = tasks
        self._weighted = weighted
        self.method = tasks[0].method
        self.metrics = tuple(
            name for name in tasks[0].metrics if all(name in task.metrics for task in tasks)
        )
        if not self.metrics or any(task.method != self.method for task in tasks):
            raise ConfigurationError(
                f"the tasks of the group {name} have no common metric. Name them one by one"
            )
        self.shots = max(task.shots for task in tasks)
        self.size = sum(task.size for task in tasks)
        self.executes = any(task.executes for task in tasks)
        self.items = [
            Item(f"{task.name}/{item.id}", item.questions) for task in tasks for item in task.items
        ]

    def score(self, replies: Sequence[Replies]) -> Scores:
        """Return the scores of the replies to all items, in their order."""
        left = iter(replies)
        parts = [task.score(list(islice(left, len(task.items)))) for task in self.tasks]
        values = [
            ItemResult(
                item.id,
                {name: one.values[name] for name in self.metrics if name in one.values},
                one.error,
            )
            for item, one in zip(self.items, (i for p in parts for i in p.items), strict=True)
        ]
        aggregate = {}
        for name in self.metrics:
            known = [
                (part.aggregate[name], sum(name in one.values for one in part.items))
                for part in parts
                if name in part.aggregate
            ]
            if known:
                weights = [n if self._weighted else 1 for _, n in known]
                total = sum(
                    score * weight for (score, _), weight in zip(known, weights, strict=True)
                )
                aggregate[name] = total / sum(weights)
        lower = frozenset(name for part in parts for name in part.lower_is_better)
        return Scores(tuple(values), lower & set(self.metrics), aggregate)

    def generative(self, count: Callable[[str], int]) -> EvaluationTask | None:
        """Return the variant for targets that tell no likelihoods; ``None`` if there is none."""
        variants = [task.generative(count) for task in self.tasks]
        made = [one for one in variants if one is not None]
        if len(made) < len(self.tasks):
            return None
        return GroupTask(f"{self.name}_generative", made, weighted=self._weighted)


def chosen(answer: str, choices: Sequence[str]) -> str | None:
    """Return the choice that an answer states; ``None`` if it states none.

    >>> chosen(" Yes, it is.", ["no", "yes"])
    'yes'
    >>> chosen("Yesterday", ["no", "yes"])
    """
    line = next((one for one in answer.splitlines() if one.strip()), "").strip().casefold()
    for choice in sorted(choices, key=len, reverse=True):
        rest = line.removeprefix(choice.casefold())
        if line.startswith(choice.casefold()) and not (rest and rest[0].isalnum()):
            return choice
    return None


_NAMES = {
    "acc": "accuracy",
    "acc_norm": "accuracy_normalized",
    "acc_bytes": "accuracy_per_byte",
    "pass@1": "pass_at_1",
    "pass_at_k": "pass_at_1",
}
"""Names of metrics in the harness and in reports."""
_SPARE_TOKENS = 8
"""Tokens of a generated choice beyond those of the longest choice."""


class _UnknownGreedyUsed(Exception):
    """A metric needs to know whether greedy decoding generates an answer."""


class _UnknownGreedy:
    """Stands for a property of a reply that the target does not tell; it cannot be used."""

    def __bool__(self) -> bool:
        raise _UnknownGreedyUsed

    def __int__(self) -> int:
        raise _UnknownGreedyUsed


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _number(combine: Callable[[Any], Any], values: list[Any]) -> float | None:
    """Return the score of some values; ``None`` if it is not a finite number."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a score of one item may be ill-defined
            score = float(combine(values))
    except (ArithmeticError, IndexError, KeyError, TypeError, ValueError):
        return None
    return score if math.isfinite(score) else None


def _error(replies: Replies, values: Mapping[str, float]) -> str | None:
    """Return the type of the error of an item without values."""
    if isinstance(replies, str):
        return replies
    return None if values else "NoValue"
