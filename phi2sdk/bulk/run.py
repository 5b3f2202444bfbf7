"""A bulk run from its input to its output: check, estimate, send, write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from phi2sdk.bulk.output import OutputFormat, write_output
from phi2sdk.bulk.rows import STDIN, Input, Row, load_parquet
from phi2sdk.bulk.scan import Estimate, Scan, estimate, scan
from phi2sdk.bulk.worker import Question, Worker
from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.client.budget import worst_case
from phi2sdk.client.limits import Gate, Limiter, Purse
from phi2sdk.client.policies import leaves
from phi2sdk.completion import Request
from phi2sdk.config.lookup import resolve
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError, ConnectionFailed, TransientError
from phi2sdk.measure.answers import Answer, AnswerJournal, State
from phi2sdk.measure.answers_folder import JOURNAL, AnswersFolder
from phi2sdk.measure.candidate import described

CONCURRENCY = 32
"""Requests in flight; for a local target at least twice its slots."""
FEWEST_FAILURES = 100
"""A run stops when this many rows in a row have failed, and twice its concurrency."""

Stopped = Literal["interrupted", "budget", "failures"]
Progress = Callable[[State], None]


@dataclass(frozen=True, slots=True)
class BulkResult:
    """The result of one session of a bulk run.

    Attributes:
        output: The output; ``None`` if some rows have neither an answer nor an error yet.
        rows, answered, failed: Numbers of rows.
        calls: Calls to the providers in all sessions, with a known outcome.
        again: Calls that were made twice, because the answers to the first ones were lost with a
            process; an upper limit.
        usd: Cost of the answers in US dollars; ``None`` if no price is known.
        stopped: Why the session ended early, if it did.
        error: The last error, if failures stopped the session.
    """

    output: Path | None
    rows: int
    answered: int
    failed: int
    calls: int
    again: int
    usd: float | None
    stopped: Stopped | None = None
    error: str | None = None


@dataclass(kw_only=True)
class BulkRun:
    """One session of a bulk run; an asynchronous context manager.

    Attributes:
        input: A ``.jsonl``, ``.csv`` or ``.parquet`` file, a pattern of such files, or ``-``.
        out: The folder of the run.
        targets: In the order in which they are tried for a row.
        question: What is asked about each text.
        config: The configuration file; ``phi2.toml`` of the working directory by default.
        column: The column with the texts.
        id: The column with the ids; by default ``id``, and the number of the row without it.
        concurrency: Largest number of requests in flight of a worker; by default 32, or twice the
            slots of a local target if that is more.
        rate: Largest number of calls per second.
        budget_usd: Largest cost of all sessions in US dollars.
        output_format: By default that of the input: Parquet if all files are, else JSON Lines.
        resume: Continue the run in the folder.
        ray: Send from the nodes of a Ray cluster, with a worker on each: ``local``, ``auto`` or the
            address of the cluster. By default, this process sends.
    """

    input: str | Path
    out: Path
    targets: Sequence[str | Target] = ("local",)
    question: Question = field(default_factory=Question)
    config: str | Path | None = None
    column: str = "text"
    id: str | None = None
    concurrency: int | None = None
    rate: float | None = None
    budget_usd: float | None = None
    output_format: OutputFormat | None = None
    resume: bool = False
    ray: str | None = None
    stopped: Stopped | None = field(default=None, init=False)
    error: str | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.concurrency is not None and self.concurrency < 1:
            raise ConfigurationError(f"concurrency={self.concurrency!r} must be at least 1")
        self._targets = [
            resolve(one, self.config) if isinstance(one, str) else one for one in self.targets
        ]
        self._purse = None if self.budget_usd is None else Purse(self.budget_usd)
        self._worker: Worker | None = None
        self._scan: Scan | None = None
        self._journal: AnswerJournal | None = None

    async def __aenter__(self) -> BulkRun:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._journal is not None:
            self._journal.close()
        if self._worker is not None:
            await self._worker.client.close()

    # ------------------------------------------------------------------ before anything is sent

    def prepare(self) -> Estimate:
        """Check the folder and every row of the input; return what the rest of the run may cost.

        Raises:
            ConfigurationError, InvalidRequest: Something must be corrected first.
        """
        limiter = Limiter(self.rate)
        gate = Gate(calls=None if self.rate is None else limiter.calls, purse=self._purse)
        self._worker = Worker(
            self._targets, self.question, gate=gate, purse=self._purse, sent=self._sent
        )
        before = self._folder.check(self._configuration(), resume=self.resume)
        self._input = Input.of(
            self.input, self.out, text=self.column, id=self.id, again=self.resume
        )
        self._format: OutputFormat = self.output_format or (
            "parquet" if self._input.parquet else "jsonl"
        )
        if self._format == "parquet":
            load_parquet()
        if before is not None:
            self._journal = AnswerJournal(self.out / JOURNAL, before["rows"])
        self._scan = found = self._scanned(before)
        state = State(found.rows) if self._journal is None else self._journal.state
        if self._purse is not None:
            if state.unbudgeted:
                raise ConfigurationError(
                    f"{self.out} has calls of a session without a budget, whose largest cost is "
                    "unknown. Resume the run without a budget, or start another run"
                )
            self._purse.add(state.charged + found.lost_usd)
        return estimate(
            found,
            self._request("any"),
            [target.price for target in self._targets],
            before_usd=state.charged + found.lost_usd,
            seconds=self._request("any").timeout,
        )

    def _scanned(self, before: dict[str, Any] | None) -> Scan:
        journal = self._journal

        def lost(row: Row) -> float:
            calls = journal.state.open.get(row.n, 0) if journal else 0
            return calls * self._most_usd(row) if calls else 0.0

        found = scan(
            self._input,
            self._request,
            wraps=self._wraps,
            rows=None if before is None else before["rows"],
            answered=journal.answered if journal else lambda n: False,
            lost=lost,
        )
        if before is not None and (found.rows, found.digest) != (before["rows"], before["input"]):
            raise ConfigurationError(
                f"the input is not that of the run in {self.out}: it has {found.rows} rows, and "
                f"had {before['rows']}, or an id or a text has changed. Restore it, or choose "
                "another output folder"
            )
        return found

    @property
    def _folder(self) -> AnswersFolder:
        return AnswersFolder(self.out, "bulk.json", "a bulk run", STDIN)

    def _configuration(self) -> dict[str, Any]:
        """Return what cannot change within a run. Concurrency, rate and budget can."""
        return {
            "column": self.column,
            "id": self.id,
            **asdict(self.question),
            "targets": {
                target.name: {"backend": target.backend, "settings": described(target.settings)}
                for target in self._targets
            },
        }

    def _request(self, text: str) -> Request:
        prompt = self.question.prompt(text)
        return self._client.request(prompt, self.question.sampling, stream=False)

    # ------------------------------------------------------------------ sending

    async def send(self, progress: Progress | None = None) -> BulkResult:
        """Send the rows that have no answer, and write the output if every row has an outcome.

        Args:
            progress: Called twice per second, and at the end.

        Raises:
            ConfigurationError: A target cannot be reached, or a file cannot be written. The
                answers so far are kept.
        """
        found = self._scan
        assert found is not None, "prepare comes first"
        if self._journal is None or self._journal.state.left:
            await self._check_targets()
        journal = self._journal = self._journal or self._folder.begin(
            self._configuration(), rows=found.rows, digest=found.digest
        )
        if journal.state.left:
            if journal.state.open:
                usd = None if self._purse is None else found.lost_usd
                journal.again(list(journal.state.open), usd)
            journal.begin(datetime.now(UTC).isoformat(timespec="seconds"))
            async with AsyncExitStack() as stack:
                if progress is not None:
                    shown = asyncio.create_task(_repeat(progress, journal.state))
                    stack.callback(shown.cancel)
                await self._send(journal)
            if progress is not None:
                progress(journal.state)
        output = None
        if journal.state.complete:
            output = self.out / f"output.{self._format}"
            await asyncio.to_thread(write_output, journal.outcomes(), output, self._format)
        state = journal.state
        return BulkResult(
            output,
            *(state.rows, state.answered, state.failed, state.calls, state.again, state.usd),
            self.stopped,
            self.error,
        )

    def stop(self) -> None:
        """Take no further rows; requests in flight are completed."""
        self.stopped = self.stopped or "interrupted"

    async def _send(self, journal: AnswerJournal) -> None:
        rows = self._waiting(journal)
        if self.ray is None:
            assert self._worker is not None
            await self._worker.run(rows, self.in_flight, self._took)
            return
        from phi2sdk.bulk.cluster import Cluster, Job

        usd = None if self._purse is None else self._purse.left
        job = Job(self._targets, self.question, self.in_flight, self.rate, usd)
        calls = self._client.backend.most_calls

        def lost(rows: Sequence[Row]) -> None:
            most = sum(calls * self._most_usd(row) for row in rows)
            journal.again([row.n for row in rows], None if usd is None else most)

        cluster = Cluster(
            self.ray,
            job,
            sent=lambda row: journal.sent(row.n, calls),
            took=self._took,
            lost=lost,
            stopped=lambda: self.stopped is not None,
        )
        try:
            await cluster.run(rows)
        finally:
            cluster.close()

    def _most_usd(self, row: Row) -> float:
        """Return the largest cost of one call for a row; 0 without a budget."""
        prices = [target.price for target in self._targets if self._purse and target.price]
        asked = self._request(row.text)
        return max((worst_case(price, asked, wraps=self._wraps) for price in prices), default=0.0)

    @property
    def _client(self) -> AsyncPhi2Client:
        assert self._worker is not None, "prepare comes first"
        return self._worker.client

    @property
    def _wraps(self) -> bool:
        return any(leaf.capabilities.wraps for leaf in leaves(self._client.backend))

    @property
    def in_flight(self) -> int:
        """Largest number of requests in flight of a worker."""
        local = [t.settings.get("slots", 16) for t in self._targets if t.backend == "local"]
        return self.concurrency or max(CONCURRENCY, *(2 * slots for slots in local), 1)

    def _waiting(self, journal: AnswerJournal) -> Iterator[Row]:
        """Yield the rows without an answer until the run stops."""
        for row in self._input.rows():
            if self.stopped is not None:
                return
            if not journal.answered(row.n):
                yield row

    def _sent(self, n: int) -> None:
        assert self._journal is not None
        self._journal.sent(n)

    def _took(self, row: Row, answer: Answer | None) -> None:
        """Record the outcome of a row; ``None``: the budget does not cover it."""
        assert self._journal is not None
        if answer is None:
            self.stopped = self.stopped or "budget"
            if row.n in self._journal.state.open:
                self._journal.unsent(row.n)
            return
        self._journal.outcome(answer)
        if answer.error is None:
            self._failures = 0
        elif not answer.error.startswith(_OF_THE_ROW):
            self._failures += 1
            if self._failures >= max(FEWEST_FAILURES, 2 * self.in_flight):
                self.stopped, self.error = self.stopped or "failures", answer.error

    async def _check_targets(self) -> None:
        """Check that the targets can be reached and take the parameters; the prompts are not sent.

        Raises:
            ConfigurationError: A target cannot be reached, or refuses the key.
            InvalidRequest: A target does not support a parameter.
        """
        client = self._client
        await client.backend.detect()
        client.explain(self.question.sampling, self.question.prompt("any"))
        for leaf in leaves(client.backend):
            try:
                await leaf.check()
            except ConnectionFailed as error:
                raise ConfigurationError(f"target {leaf.target}: {error}") from error
            except TransientError:
                continue  # busy or asleep, which the rows themselves retry


_OF_THE_ROW = ("ContentFiltered:", "InvalidRequest:", "ContextLengthExceeded:")
"""Errors that another row need not have."""


async def bulk(
    input: str | Path,
    out: str | Path,
    target: str | Target | Sequence[str | Target] = "local",
    *,
    question: Question | None = None,
    agree: Callable[[Estimate], None] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> BulkResult:
    """Answer each row of an input, and write one row of output for each id.

    ::

        result = await bulk("paragraphs.jsonl", "summaries/", "azure", rate=50, budget_usd=20)
        print(result.answered, result.usd, result.output)

    A process that is killed loses only the requests in flight: repeat the call with
    ``resume=True``. Each id is in the output exactly once, and is sent at least once.

    Args:
        input: A ``.jsonl``, ``.csv`` or ``.parquet`` file, a pattern of such files, or ``-``.
        out: The folder of the run.
        target: One target, or several that are tried in this order for each row.
        question: What is asked about each text; a summary by default.
        agree: Receives the estimate, and raises an exception to send nothing.
        progress: Receives the counts twice per second.
        options: Other attributes of :class:`BulkRun`, such as ``concurrency`` and ``rate``.

    Raises:
        ConfigurationError, InvalidRequest: Something must be corrected first; the message names
            the file and the row of a wrong row.
    """
    targets = [target] if isinstance(target, str | Target) else target
    asked = question or Question()
    run = BulkRun(input=input, out=Path(out), targets=targets, question=asked, **options)
    async with run:
        forecast = await asyncio.to_thread(run.prepare)
        if agree is not None:
            agree(forecast)
        return await run.send(progress)


async def _repeat(progress: Progress, state: State) -> None:
    with suppress(asyncio.CancelledError):
        while True:
            progress(state)
            await asyncio.sleep(0.5)
