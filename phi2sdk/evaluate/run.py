"""An evaluation from its tasks to its results: load, estimate, ask, score."""

from __future__ import annotations

import asyncio
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from phi2sdk.client.budget import worst_case
from phi2sdk.client.limits import Purse
from phi2sdk.config.lookup import resolve
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.evaluate import sandbox
from phi2sdk.evaluate.asking import Asker, Row
from phi2sdk.evaluate.harness import Replies
from phi2sdk.evaluate.plan import Estimate, Part, check, digest, estimate, make_plan
from phi2sdk.evaluate.questions import decode_reply
from phi2sdk.evaluate.report import report_of
from phi2sdk.evaluate.tasks import load_tasks
from phi2sdk.measure.answers import Answer, AnswerJournal, State
from phi2sdk.measure.answers_folder import JOURNAL, AnswersFolder
from phi2sdk.measure.candidate import described
from phi2sdk.measure.evaluations import (
    EVALUATION,
    TaskResult,
    read_evaluations,
    write_evaluations,
)
from phi2sdk.measure.files import ANOTHER_COPY
from phi2sdk.measure.folder import machine, versions
from phi2sdk.measure.tokens import find_tokenizer, local_model
from phi2sdk.report.evaluation_schema import EvaluationReport
from phi2sdk.report.evaluations import check_requirements
from phi2sdk.report.requirements import Requirement

__all__ = ["Evaluation", "EvaluationSession"]

FEWEST_FAILURES = 20
"""The run stops when this many questions to a target have failed one after another, and twice the
number in flight."""

Stopped = Literal["interrupted", "budget", "failures"]
Progress = Callable[[State], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of one session of an evaluation.

    Attributes:
        folder: The folder of the run.
        results: The result of each target on each task that is complete.
        report: The report of these results, whose files are in the folder.
        notes: A sentence for each target that a task leaves out.
        rows, answered, failed: Numbers of questions.
        calls: Calls in all sessions, with a known outcome.
        again: Calls that were made twice, because the answers to the first ones were lost with a
            process; an upper limit.
        usd: Cost of the answers in US dollars; ``None`` if no price is known.
        stopped: Why the session ended early, if it did.
        error: The last error, if failures stopped the session.
    """

    folder: Path
    results: tuple[TaskResult, ...]
    report: EvaluationReport
    notes: tuple[str, ...]
    rows: int
    answered: int
    failed: int
    calls: int
    again: int
    usd: float | None
    stopped: Stopped | None = None
    error: str | None = None


@dataclass(kw_only=True)
class EvaluationSession:
    """One session of an evaluation; an asynchronous context manager.

    Attributes:
        targets: The targets that are compared.
        tasks: Names of tasks and groups.
        out: The folder of the run.
        config: The configuration file; ``phi2.toml`` of the working directory by default.
        data: Folder with the data of tasks (see :func:`~phi2sdk.evaluate.data.local_data`).
        limit: Largest number of items of each task.
        shots: Examples in each prompt; by default those of each task.
        budget_usd: Largest cost of all sessions in US dollars. A local target is not part of it.
        concurrency: Largest number of requests in flight of a target; by default 16, or twice the
            slots of a local target.
        resume: Continue the run in the folder.
        unsafe_code: Execute programs of the model outside of the sandbox
            (see :data:`~phi2sdk.evaluate.sandbox.UNSAFE`).
        requirements: Rules that the report must meet; by default those of the run in the folder.
    """

    targets: Sequence[str | Target]
    tasks: Sequence[str]
    out: Path
    config: str | Path | None = None
    data: Path | None = None
    limit: int | None = None
    shots: int | None = None
    budget_usd: float | None = None
    concurrency: int | None = None
    resume: bool = False
    unsafe_code: bool = False
    requirements: Sequence[Requirement] | None = None
    stopped: Stopped | None = field(default=None, init=False)
    error: str | None = field(default=None, init=False)
    notes: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        for name, least in (("concurrency", 1), ("limit", 1), ("shots", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigurationError(f"{name}={value!r} must be at least {least}")
        if not self.targets or not self.tasks:
            raise ConfigurationError("an evaluation needs at least one target and one task")
        self._targets = [
            resolve(one, self.config) if isinstance(one, str) else one for one in self.targets
        ]
        names = [target.name for target in self._targets]
        if len(set(names)) < len(names):
            raise ConfigurationError("a target is named twice. Name each target once")
        self._purse = None if self.budget_usd is None else Purse(self.budget_usd)
        self._folder = AnswersFolder(self.out, EVALUATION, "an evaluation")
        self._open = AsyncExitStack()
        self._askers: list[Asker] = []
        self._parts: list[Part] = []
        self._journal: AnswerJournal | None = None
        self._failures: dict[str, int] = {}
        self._lost_usd = 0.0
        self._digest = ""

    async def __aenter__(self) -> EvaluationSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    # ------------------------------------------------------------------ before anything is sent

    async def prepare(self) -> list[Estimate]:
        """Load the tasks, and return what the rest of the run may cost, for each target.

        Raises:
            ConfigurationError, InvalidRequest: Something must be corrected first.
        """
        model = local_model(
            {
                one.name: {"backend": one.backend, "settings": described(one.settings)}
                for one in self._targets
            }
        )
        tokenizer = find_tokenizer(model)
        for target in self._targets:
            asker = Asker(target, tokenizer, purse=self._purse, concurrency=self.concurrency)
            self._open.push_async_callback(asker.close)
            self._askers.append(asker)
        before = self._folder.check(self._configuration(), resume=self.resume)
        tasks = await asyncio.to_thread(
            load_tasks, self.tasks, data=self.data, shots=self.shots, limit=self.limit
        )
        if any(task.executes for task in tasks) and not self.unsafe_code:
            sandbox.require()
        for asker in self._askers:
            await asker.client.backend.detect()
        self._parts, self.notes = make_plan(tasks, self._askers, tokenizer.count)
        check(self._parts)
        names = [target.name for target in self._targets]
        check_requirements(self.requirements or (), self.planned, names)
        self._digest = digest(self._parts)
        if before is not None:
            if (before["rows"], before["input"]) != (self._rows, self._digest):
                raise ConfigurationError(
                    f"the questions are not those of the run in {self.out}: a task or its data "
                    "have changed, or a target tells log-likelihoods that it did not tell before. "
                    "Restore them, or choose another output folder"
                )
            self._opened(AnswerJournal(self.out / JOURNAL, self._rows, self._saw))
        return estimate(self._parts, self._answered, tokenizer.count)

    @property
    def before_usd(self) -> float:
        """US dollars charged to the budgets of earlier sessions."""
        charged = self._journal.state.charged if self._journal else 0.0
        return charged + self._lost_usd

    @property
    def _rows(self) -> int:
        return self._parts[-1].numbers.stop

    def _answered(self, n: int) -> bool:
        return self._journal is not None and self._journal.answered(n)

    def _opened(self, journal: AnswerJournal) -> None:
        """Take the journal of an earlier session, whose charges count against the budget.

        Raises:
            ConfigurationError: The charges of an earlier session are unknown.
        """
        self._journal = journal
        self._open.callback(journal.close)
        if self._purse is None:
            return
        if journal.state.unbudgeted:
            raise ConfigurationError(
                f"{self.out} has calls of a session without a budget, whose largest cost is "
                "unknown. Resume the run without a budget, or start another run"
            )
        for n, calls in journal.state.open.items():
            part = self._part(n)
            price = part.asker.target.price
            if not part.asker.local and price is not None:
                row = next(row for row in part.rows() if row.n == n)
                request = part.asker.request(row.question)
                self._lost_usd += calls * worst_case(price, request, wraps=part.asker.wraps)
        self._purse.add(journal.state.charged + self._lost_usd)

    def _part(self, n: int) -> Part:
        return self._parts[bisect(self._parts, n, key=lambda part: part.numbers.start) - 1]

    def _configuration(self) -> dict[str, Any]:
        """Return what cannot change within a run. Concurrency and budget can."""
        return {
            "tasks": list(self.tasks),
            "limit": self.limit,
            "shots": self.shots,
            "targets": {
                target.name: {
                    "backend": target.backend,
                    "settings": described(target.settings),
                    "simulated": target.simulated,
                }
                for target in self._targets
            },
        }

    def _about(self) -> dict[str, Any]:
        """Return what the report states about the run beside its configuration."""
        return {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions() | {"lm_eval": version("lm_eval")},
            "machine": machine(local=any(one.local for one in self._askers)),
            "plan": {
                task: [one.asker.target.name for one in self._parts if one.task.name == task]
                for task in self.planned
            },
        }

    @property
    def planned(self) -> dict[str, tuple[str, ...]]:
        """The metrics of each task of the plan, the main metric first."""
        metrics = {part.task.name: part.task.metrics for part in self._parts}
        return {name: metrics[name] for name in self._tasks_in_order}

    # ------------------------------------------------------------------ asking

    async def send(self, progress: Progress | None = None) -> Evaluation:
        """Ask the questions that have no answer, and score each task when it is complete.

        Targets at providers are asked at the same time, and local targets afterwards, one by one,
        so that only one model is in memory and the times of tasks can be compared.

        Args:
            progress: Called twice per second, and at the end.

        Raises:
            ConfigurationError: A target cannot be reached, or a file cannot be written. The
                answers so far are kept.
        """
        assert self._parts, "prepare comes first"
        for asker in self._askers:
            if any(self._left(part) for part in self._parts if part.asker is asker):
                await asker.check()
        if self._journal is None:
            journal = self._folder.begin(
                self._configuration(),
                rows=self._rows,
                digest=self._digest,
                seen=self._saw,
                about=self._about(),
            )
            self._opened(journal)
        assert self._journal is not None
        journal = self._journal
        if journal.state.left:
            if journal.state.open:
                free = all(self._part(n).asker.local for n in journal.state.open)
                known = free or self._purse is not None
                journal.again(list(journal.state.open), self._lost_usd if known else None)
            journal.begin(datetime.now(UTC).isoformat(timespec="seconds"))
        results = {(one.task, one.target): one for one in read_evaluations(self.out)}
        async with AsyncExitStack() as stack:
            if progress is not None:
                shown = asyncio.create_task(_repeat(progress, journal.state))
                stack.callback(shown.cancel)
            far = [one for one in self._askers if not one.local]
            await _all([self._ask(one, results) for one in far])
            for asker in self._askers:
                if asker.local:
                    await self._ask(asker, results)
                    await asker.close()
        if progress is not None:
            progress(journal.state)
        return self._evaluation(results)

    def stop(self) -> None:
        """Ask no further questions; requests in flight are completed."""
        self.stopped = self.stopped or "interrupted"

    async def _ask(self, asker: Asker, results: dict[tuple[str, str], TaskResult]) -> None:
        """Ask one target all its tasks, one after another."""
        for part in self._parts:
            if part.asker is not asker:
                continue
            key = part.task.name, asker.target.name
            rows = self._left(part)
            if rows:
                results.pop(key, None)
                await self._ask_part(part, rows)
            if self.stopped is not None:
                return
            if key not in results:
                results[key] = await asyncio.to_thread(self._scored, part)
                write_evaluations(self.out, self._ordered(results))

    async def _ask_part(self, part: Part, rows: list[Row]) -> None:
        journal = self._journal
        assert journal is not None
        last = monotonic()

        def took(row: Row, answer: Answer | None) -> None:
            nonlocal last
            if answer is None:
                self.stopped = self.stopped or "budget"
                if row.n in journal.state.open:
                    journal.unsent(row.n)
                return
            now = monotonic()
            answer, last = replace(answer, seconds=now - last), now
            if part.asker.local:
                answer = replace(answer, charged=0.0)
            journal.outcome(answer)
            self._count_failure(part.asker, answer)

        await part.asker.ask(
            rows, sent=journal.sent, took=took, stopped=lambda: self.stopped is not None
        )

    def _count_failure(self, asker: Asker, answer: Answer) -> None:
        name = asker.target.name
        if answer.error is None:
            self._failures[name] = 0
        elif not answer.error.startswith(_OF_THE_ROW):
            self._failures[name] = self._failures.get(name, 0) + 1
            if self._failures[name] >= max(FEWEST_FAILURES, 2 * asker.concurrency):
                self.stopped, self.error = self.stopped or "failures", answer.error

    def _left(self, part: Part) -> list[Row]:
        """Return the rows of a part without an answer."""
        return [row for row in part.rows() if not self._answered(row.n)]

    def _saw(self, answer: Answer) -> None:
        self._part(answer.n).tally.take(answer)

    # ------------------------------------------------------------------ scoring

    def _scored(self, part: Part) -> TaskResult:
        """Return the result of a part whose rows all have an outcome.

        Raises:
            ConfigurationError: The journal is damaged.
        """
        assert self._journal is not None
        task, tally = part.task, part.tally
        replies: list[Replies] = []
        outcomes = part.by_item(self._journal.outcomes_of(part.numbers))
        for item, answers in zip(task.items, outcomes, strict=True):
            errors = [one.error for one in answers if one is not None and one.error is not None]
            if errors:
                replies.append(errors[0].partition(":")[0])
                continue
            try:
                replies.append(
                    [
                        decode_reply(question, (answer.text if answer else None) or "")
                        for question, answer in zip(item.questions, answers, strict=True)
                    ]
                )
            except (ValueError, TypeError) as error:
                raise ConfigurationError(
                    f"{self._journal.path} has no reply to a question of {task.name}, item "
                    f"{item.id} ({error}). {ANOTHER_COPY}"
                ) from None
        with sandbox.unsafe_code() if self.unsafe_code else nullcontext():
            scores = task.score(replies)
        return TaskResult(
            task=task.name,
            method=task.method,
            target=part.asker.target.name,
            items=scores.items,
            metrics=task.metrics,
            lower_is_better=scores.lower_is_better,
            shots=task.shots,
            calls=tally.calls,
            input_tokens=tally.input_tokens,
            output_tokens=tally.output_tokens,
            cost_usd=tally.usd,
            seconds=tally.seconds,
            not_comparable=self._not_comparable(part),
            aggregate=scores.aggregate,
        )

    def _not_comparable(self, part: Part) -> str | None:
        """Return why a score cannot be compared with the published one; ``None`` if it can."""
        task = part.task
        if task.method == "generative":
            return (
                "The target writes its choice, but published figures compare log-likelihoods of "
                "the choices."
            )
        if part.asker.wraps and task.method == "generation":
            return "The server puts each prompt into a chat template."
        if len(task.items) < task.size:
            return f"Only {len(task.items)} of {task.size} items were asked."
        return None

    def _ordered(self, results: dict[tuple[str, str], TaskResult]) -> Iterator[TaskResult]:
        """Yield the results, task by task."""
        parts = sorted(self._parts, key=lambda part: self._tasks_in_order.index(part.task.name))
        for part in parts:
            found = results.get((part.task.name, part.asker.target.name))
            if found is not None:
                yield found

    @property
    def _tasks_in_order(self) -> list[str]:
        """The names of all tasks; a target that tells log-likelihoods is asked every task."""
        by_target: dict[str, list[str]] = {}
        for part in self._parts:
            by_target.setdefault(part.asker.target.name, []).append(part.task.name)
        return max(by_target.values(), key=len)

    def _evaluation(self, results: dict[tuple[str, str], TaskResult]) -> Evaluation:
        assert self._journal is not None
        state = self._journal.state
        return Evaluation(
            self.out,
            tuple(self._ordered(results)),
            report_of(self.out, self.requirements),
            tuple(self.notes),
            *(state.rows, state.answered, state.failed, state.calls, state.again, state.usd),
            self.stopped,
            self.error,
        )


_OF_THE_ROW = ("ContentFiltered:", "InvalidRequest:", "ContextLengthExceeded:")
"""Errors that another question need not have."""


async def _all(works: Sequence[Any]) -> None:
    """Wait for several coroutines; the first error cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as several:
        first = several.exceptions[0]
        if isinstance(first, Phi2Error):
            raise first from several
        raise


async def _repeat(progress: Progress, state: State) -> None:
    with suppress(asyncio.CancelledError):
        while True:
            progress(state)
            await asyncio.sleep(0.5)
