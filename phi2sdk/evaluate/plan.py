"""Which target answers which task, and what that costs, before anything is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from phi2sdk.backends.counts import most_input
from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.evaluate.asking import Asker, Row
from phi2sdk.evaluate.harness import EvaluationTask
from phi2sdk.evaluate.questions import Generation, Likelihood, Question
from phi2sdk.measure.answers import Answer
from phi2sdk.pricing.price import Bill

__all__ = ["Estimate", "Part", "Tally", "estimate", "make_plan"]


@dataclass(slots=True)
class Tally:
    """Sums over all calls of one target for one task."""

    calls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    usd: float | None = None
    seconds: float = 0.0

    def take(self, answer: Answer) -> None:
        """Add an outcome."""
        self.calls += answer.attempts
        self.seconds += answer.seconds or 0.0
        for name in ("input_tokens", "output_tokens", "usd"):
            if (value := getattr(answer, name)) is not None:
                setattr(self, name, (getattr(self, name) or 0) + value)


@dataclass(frozen=True, slots=True)
class Part:
    """One task for one target.

    Attributes:
        task: The task.
        asker: Asks the target.
        numbers: Numbers of its rows in the run.
        tally: The sums of its outcomes.
    """

    task: EvaluationTask
    asker: Asker
    numbers: range
    tally: Tally = field(default_factory=Tally)

    def rows(self) -> Iterator[Row]:
        """Yield a row for each question."""
        numbers = iter(self.numbers)
        for item in self.task.items:
            for at, question in enumerate(item.questions):
                id = f"{self.asker.target.name}/{self.task.name}/{item.id}/{at}"
                yield Row(next(numbers), id, question)

    def by_item(self, outcomes: Iterator[Answer | None]) -> Iterator[list[Answer | None]]:
        """Yield the outcomes of each item."""
        for item in self.task.items:
            yield list(islice(outcomes, len(item.questions)))


@dataclass(frozen=True, slots=True)
class Estimate:
    """The number of calls, tokens and US dollars of the rest of a run for one target.

    Attributes:
        target: Name of the target.
        calls: Questions without an answer; each takes one call, and more if calls fail.
        input_tokens: Tokens of their prompts.
        output_tokens: Largest number of output tokens.
        usd: Cost of these tokens; ``None`` if it is unknown. A local target is charged by time,
            if it has a price.
        most_usd: Largest cost with one call for each question; ``None`` if it is unknown.
    """

    target: str
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    most_usd: float | None


def make_plan(
    tasks: Sequence[EvaluationTask], askers: Sequence[Asker], count: Callable[[str], int]
) -> tuple[list[Part], list[str]]:
    """Return the parts of a run, and a sentence for each target that a task leaves out.

    A task that is defined by log-likelihoods goes to the targets that tell them. If one does not,
    all targets also answer the generative variant of the task, so that they can be compared.

    Args:
        tasks: The tasks.
        askers: One for each target.
        count: Returns the number of tokens of a text.

    Raises:
        ConfigurationError: No target can answer a task.
    """
    chosen: list[tuple[EvaluationTask, Asker]] = []
    notes: list[str] = []
    for task in tasks:
        tell = [one for one in askers if one.tells or task.method == "generation"]
        chosen += [(task, one) for one in tell]
        if len(tell) == len(askers):
            continue
        silent = ", ".join(one.target.name for one in askers if one not in tell)
        variant = task.generative(count)
        if variant is not None:
            chosen += [(variant, one) for one in askers]
            continue
        if not tell:
            raise ConfigurationError(
                f"the task {task.name} needs log-likelihoods, which {silent} does not return. "
                "Leave out the task, or add a local target"
            )
        notes.append(
            f"{task.name} is not asked from {silent}, because it needs log-likelihoods, which the "
            "target does not return."
        )
    parts: list[Part] = []
    first = 0
    for asker in askers:
        for task, one in chosen:
            if one is asker:
                end = first + sum(len(item.questions) for item in task.items)
                parts.append(Part(task, asker, range(first, end)))
                first = end
    return parts, notes


def digest(parts: Sequence[Part]) -> str:
    """Return a digest of all questions, which changes if one of them changes."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        for row in part.rows():
            for text in (row.id, *_texts(row.question)):
                data = text.encode("utf-8", "surrogatepass")
                found.update(b"%d:" % len(data) + data)
    return found.hexdigest()


def check(parts: Sequence[Part]) -> None:
    """Check every question before anything is sent.

    Raises:
        InvalidRequest: A target cannot be asked a question; the message names the item.
    """
    for part in parts:
        for row in part.rows():
            try:
                part.asker.request(row.question)
            except Phi2Error as error:
                error.message = f"{row.id}: {error.message}"
                error.args = (error.message,)
                raise


def estimate(
    parts: Sequence[Part], answered: Callable[[int], bool], count: Callable[[str], int]
) -> list[Estimate]:
    """Return the estimate of each target for the rows that have no answer."""
    found = []
    for asker in dict.fromkeys(part.asker for part in parts):
        calls = read = wrote = most = 0
        limits: list[float | None] = []
        for part in parts:
            if part.asker is not asker:
                continue
            for row in part.rows():
                if answered(row.n):
                    continue
                request = asker.request(row.question)
                calls += 1
                read += count(request.prompt.text)
                most += most_input(request, wraps=asker.wraps)
                wrote += request.sampling.max_tokens
                limits.append(request.timeout)
        price = asker.target.price
        likely = Bill(input=read, output=wrote, requests=calls)
        known = [one for one in limits if one is not None]
        seconds = sum(known) if len(known) == len(limits) else None
        worst = Bill(input=most, output=wrote, requests=calls, seconds=seconds)
        usd = None if price is None else price.usd(likely)
        ceiling = None if price is None or asker.local else price.ceiling(worst)
        found.append(Estimate(asker.target.name, calls, read, wrote, usd, ceiling))
    return found


def _texts(question: Question) -> tuple[str, ...]:
    if isinstance(question, Generation):
        sampling = question.sampling
        return question.context, str(sampling.max_tokens), *sampling.stop
    if isinstance(question, Likelihood):
        return question.context, question.continuation
    return (question.text,)
