"""One comparison: candidates, a workload and settings, that can be checked, run and resumed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

from phi2sdk.client.budget import Spending
from phi2sdk.completion import Request
from phi2sdk.errors import (
    ConfigurationError,
    ConnectionFailed,
    ContextLengthExceeded,
    InvalidRequest,
    Phi2Error,
    TransientError,
)
from phi2sdk.measure.calibration import WIRES, Calibration, calibrate
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.folder import RunFolder, machine, unique_prefix, versions
from phi2sdk.measure.gpu_power import Sampler
from phi2sdk.measure.health import Monitor
from phi2sdk.measure.journal import Recorded
from phi2sdk.measure.prompt_logprobs import ask_logprobs, chosen, requests_ahead
from phi2sdk.measure.records import Key, Record
from phi2sdk.measure.run_budget import Forecast, RunBudget
from phi2sdk.measure.runner import Runner
from phi2sdk.measure.sampled import SampledArm
from phi2sdk.measure.schedule import Endless, Lane, cycle, plan, warmup
from phi2sdk.measure.settings import Settings
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.measure.workload import Workload
from phi2sdk.prompts import SUMMARY_TEMPLATE, Prompt
from phi2sdk.sampling import Sampling
from phi2sdk.text import encodable

__all__ = ["Comparison", "Progress", "Settings", "check_reference"]

MOST_STREAMS = 64
"""Maximum number of requests in flight during a calibration."""


class Progress(Protocol):
    """Receives the progress of a run."""

    def begin(self, total: int | None, done: int) -> None:
        """Begin a run of ``total`` requests, of which ``done`` are already recorded.

        ``total`` is ``None`` if the duration determines the number of requests.
        """

    def record(self, record: Record) -> None:
        """Add the record of a request."""


class Comparison:
    """Candidates, a workload and settings: can be checked, run, and reported on.

    Args:
        workload: The texts or prompts.
        candidates: The open targets. The comparison does not close them.
        tokenizer: The reference tokenizer.
        settings: The settings of the measurement.
        demo: Whether this is the demo.
        identity: The prompts of the sampled arm (default: the workload).

    Raises:
        ConfigurationError: Two candidates have the same name, or the reference is not a candidate.
        InvalidRequest: A text cannot become a prompt.
    """

    def __init__(
        self,
        workload: Workload,
        candidates: Sequence[Candidate],
        tokenizer: ReferenceTokenizer,
        settings: Settings,
        *,
        demo: bool = False,
        identity: Workload | None = None,
    ) -> None:
        self.candidates = {candidate.name: candidate for candidate in candidates}
        if len(self.candidates) < len(candidates):
            raise ConfigurationError("a target is named twice")
        self.settings = replace(settings, reference=self._reference(settings.reference))
        self.workload = workload
        self.tokenizer = tokenizer
        self.demo = demo
        self._prompts: Mapping[str, Prompt] = workload.prompts()
        self._sampled = SampledArm.of(self.settings, self.candidates, workload, identity)
        self._nonce = secrets.token_hex(8)

    def _reference(self, named: str | None) -> str | None:
        check_reference(named, list(self.candidates))
        local = [c.name for c in self.candidates.values() if c.backend == "local"]
        return named or next(iter([*local, *self.candidates]), None)

    async def check(self) -> None:
        """Check that every request can be made, before anything is written.

        Raises:
            ConfigurationError: A target cannot be reached, or refuses the key.
            InvalidRequest: A prompt is too long for a target, or a parameter cannot be sent.
        """
        for candidate in self.candidates.values():
            self._check_lengths(candidate)
            await candidate.client.backend.detect()
            for key in self._one_each(candidate.name):
                candidate.client.backend.explain(self.request(key))
            try:
                await candidate.client.check()
            except (ConfigurationError, InvalidRequest):
                raise
            except Phi2Error as error:
                if isinstance(error, TransientError) and not isinstance(error, ConnectionFailed):
                    continue  # busy or asleep, which the run itself records
                raise ConfigurationError(f"target {candidate.name}: {error}") from error

    async def _calibrate(self) -> list[Calibration]:
        """Measure the error on each wire of this run, at its concurrency."""
        if not self.settings.calibrate:
            return []
        backends = {candidate.backend for candidate in self.candidates.values()}
        wires = [WIRES[backend] for backend in backends if backend in WIRES]
        load = self.settings.load
        streams = load.concurrency * len(self.candidates) if load.kind == "closed" else 1
        return await calibrate(wires, streams=min(streams, MOST_STREAMS))

    def _check_lengths(self, candidate: Candidate) -> None:
        limit = candidate.client.backend.capabilities.context_length
        if limit is None or self.tokenizer.estimated:
            return
        for key in self._one_each(candidate.name):
            tokens = self.tokenizer.count(self.request(key).prompt.text)
            if tokens >= limit:
                raise ContextLengthExceeded(
                    f"{self._where(key)}: the prompt alone exceeds the context of the target "
                    f"{candidate.name}: it has {tokens:,} tokens of at most {limit:,}. Shorten the "
                    "text"
                )
            if tokens + self.settings.max_tokens > limit:
                raise ContextLengthExceeded(
                    f"{self._where(key)}: {tokens} tokens and max_tokens "
                    f"{self.settings.max_tokens} do not fit into the context of {limit} of target "
                    f"{candidate.name}: shorten the text, or lower --max-tokens"
                )

    def _one_each(self, target: str) -> Iterator[Key]:
        """One request for each prompt of each arm."""
        yield from (Key("greedy", target, item.id, 0) for item in self.workload.items)
        yield from (Key("sampled", target, id, 0) for id in self._sampled.prompts)

    def _where(self, key: Key) -> str:
        workload = self.workload if key.arm == "greedy" else self._sampled.workload
        return f"{workload.name}, line {next(i.line for i in workload.items if i.id == key.prompt)}"

    def request(self, key: Key) -> Request:
        """The request of a key."""
        settings = self.settings
        if key.arm == "sampled":
            return self._sampled.request(key)
        sampling = Sampling(max_tokens=settings.max_tokens, temperature=0.0)
        prompt = self._prompts[key.prompt]
        if settings.unique_prefix:
            prompt = replace(prompt, text=unique_prefix(self._nonce, key) + prompt.text)
        return Request(prompt, sampling, timeout=settings.timeout)

    def configuration(self) -> dict[str, Any]:
        """All that makes two runs the same."""
        settings, workload = self.settings, self.workload
        summarize = workload.task == "summarize"
        references = {item.id: item.reference for item in workload.items if item.reference}
        return {
            "demo": self.demo,
            "task": workload.task,
            "format": "instruct" if summarize else workload.format,
            "template": SUMMARY_TEMPLATE if summarize else None,
            "input": encodable(Path(workload.name).name),
            "prompts": {id: prompt.text for id, prompt in self._prompts.items()},
            **({"references": references} if references else {}),
            "targets": {name: c.describe() for name, c in self.candidates.items()},
            "reference": settings.reference,
            "load": asdict(settings.load),
            "repetitions": settings.repetitions if settings.duration is None else None,
            "duration": settings.duration,
            "unique_prefix": settings.unique_prefix,
            "warmup": settings.warmup,
            "seed": settings.seed,
            "max_tokens": settings.max_tokens,
            "timeout": settings.timeout,
            "tokenizer": self.tokenizer.name,
            **self._sampled.configuration(),
            **({"logprobs": settings.logprobs} if settings.logprobs else {}),
        }

    def budget(self, usd: float, recorded: Recorded | None = None) -> RunBudget:
        """A hard cap for :meth:`run`, of which what is recorded has spent its part already.

        Raises:
            ConfigurationError: It is not above 0, or a candidate has no price.
        """
        budget = RunBudget(Spending(usd), self.candidates, self.request)
        budget.count(recorded or Recorded())
        return budget

    def _plan(self, recorded: Recorded) -> _Plan:
        """The lanes of the warm-up, of the run, and of its sampled arm, without what is done."""
        settings, names, prompts = self.settings, list(self.candidates), list(self._prompts)
        done, load, seed = recorded.done, settings.load, settings.seed
        first = warmup(names, prompts, settings.warmup, done)
        last = self._sampled.lanes(done)
        if settings.duration is None:
            times = settings.repetitions
            lanes = plan(load, names, prompts, repetitions=times, seed=seed, done=done)
            return _Plan(first, lanes, last)
        if recorded.over:
            return _Plan(first, (), last)
        seconds, spent = settings.duration, recorded.elapsed
        timed = cycle(load, names, prompts, seconds=seconds, spent=spent, seed=seed, done=done)
        return _Plan(first, timed, last)

    @property
    def counted(self) -> bool:
        """Return whether the number of requests is known in advance."""
        return self.settings.duration is None or self.settings.load.kind == "poisson"

    def left(self, recorded: Recorded | None = None) -> list[Key]:
        """The requests that have no record yet, as far as they are :attr:`counted`."""
        found = self._plan(recorded or Recorded())
        known = [
            lane for lane in (*found.first, *found.lanes, *found.last) if isinstance(lane, Lane)
        ]
        return [due.key for lane in known for due in lane.dues]

    def forecast(self, budget: RunBudget, recorded: Recorded | None = None) -> Forecast:
        """Return the possible cost of the requests that have no record yet, as far as counted."""
        settings, found = self.settings, recorded or Recorded()
        scored = requests_ahead(
            self.candidates,
            self._sampled.prompts,
            settings.logprobs,
            found.scored,
            max_tokens=settings.max_tokens,
            timeout=settings.timeout,
        )
        return budget.forecast(self.left(found), scored)

    async def run(
        self,
        folder: RunFolder,
        *,
        resume: bool = False,
        progress: Progress | None = None,
        budget: RunBudget | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Send everything that has no record yet. If it is canceled, it can be resumed.

        With a budget, nothing is sent any more once the next request could exceed it; the run can
        be resumed with a larger one.

        Raises:
            ConfigurationError: The folder holds another run.
        """
        started = datetime.now(UTC).isoformat(timespec="seconds")
        info: dict[str, Any] = {
            "started": started,
            "versions": versions(),
            "machine": machine(local=any(c.backend == "local" for c in self.candidates.values())),
            "nonce": self._nonce,
            "configuration": self.configuration(),
            **({"options": options} if options else {}),
        }
        calibrations = [asdict(found) for found in await self._calibrate()]
        info["calibration"] = calibrations
        journal, recorded = folder.open(info, resume=resume)
        self._nonce = folder.read_info().get("nonce", self._nonce)
        with journal:
            journal.begin(started)
            for found in calibrations:
                journal.calibration(found)
            runner = Runner(
                clients={name: c.client for name, c in self.candidates.items()},
                request=self.request,
                journal=journal,
                progress=_ignore if progress is None else progress.record,
                epoch_ns=perf_counter_ns(),
                gate=budget,
            )
            if budget is not None:
                budget.count(recorded)  # another process may have resumed the run since the consent
            lanes = self._plan(recorded)
            if progress is not None:
                done = len(recorded.done)
                total = done + len(self.left(recorded)) if self.counted else None
                progress.begin(total, done)
            await runner.run(lanes.first)
            with Sampler(journal.health, runner.epoch_ns) as power:
                async with Monitor(power.report):
                    await runner.run(lanes.lanes)
            if self.settings.duration is not None and not (budget and budget.stopped):
                journal.over()
            await runner.run(lanes.last)
            if self.settings.logprobs:
                await self._ask_logprobs(folder, budget)

    async def _ask_logprobs(self, folder: RunFolder, budget: RunBudget | None) -> None:
        settings, done = self.settings, folder.recorded().done
        count, reference = settings.logprobs, settings.reference
        texts = {name: chosen(done, name, reference, count) for name in self.candidates}
        prompts, timeout = self._sampled.prompts, settings.timeout
        reserve = None if budget is None else budget.reserve
        await ask_logprobs(
            folder.path, self.candidates, prompts, texts, timeout=timeout, reserve=reserve
        )


class _Plan(NamedTuple):
    """The lanes of the requests that remain to be sent."""

    first: tuple[Lane, ...]
    lanes: tuple[Lane | Endless, ...]
    last: tuple[Lane, ...]


def check_reference(named: str | None, targets: Sequence[str]) -> None:
    """Check that the reference is one of the targets.

    Raises:
        ConfigurationError: It is not.
    """
    if named is not None and named not in targets:
        raise ConfigurationError(
            f"the reference {named!r} is not compared: use one of {', '.join(targets)}"
        )


def _ignore(record: Record) -> None:
    pass
