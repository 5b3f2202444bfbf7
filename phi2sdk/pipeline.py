"""A comparison from its inputs to its report: open, check, measure, examine, report.

``phi2sdk.compare.compare`` and the command ``phi2 compare`` both run through here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi2sdk.config import Target, configured, resolve
from phi2sdk.errors import ConfigurationError
from phi2sdk.identity.check import IdentityCheck
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.comparison import Comparison, Progress, Settings, check_reference
from phi2sdk.measure.folder import RUN, Run, RunFolder
from phi2sdk.measure.journal import Recorded
from phi2sdk.measure.records import paused_collector
from phi2sdk.measure.run_budget import RunBudget
from phi2sdk.measure.tokens import (
    ReferenceTokenizer,
    find_tokenizer,
    given_tokenizer,
    local_model,
)
from phi2sdk.measure.workload import Workload
from phi2sdk.report.build import build_from
from phi2sdk.report.files import write_reports
from phi2sdk.report.measured import Measured
from phi2sdk.report.options import Analysis
from phi2sdk.report.schema import Report

Watch = Callable[[Comparison, Recorded], AbstractContextManager[Progress | None]]
"""Shows the progress of a comparison, of which some requests are recorded already."""
Agree = Callable[[Comparison, Recorded], RunBudget | None]
"""Sets the budget of a comparison, or raises where nobody agrees to it."""


@dataclass(kw_only=True)
class ComparisonRun:
    """One run of a comparison.

    Attributes:
        workload: What is asked.
        targets: Names from the configuration, backends, or targets; all configured ones if none
            is named.
        out: The folder of the run.
        config: The configuration; ``phi2.toml`` of the working directory by default.
        tokenizer: The ``tokenizer.json`` that all answers are counted with; see :func:`opened`.
        settings: How to measure.
        analysis: How to evaluate the numbers: margin, service levels, requirements.
        demo: Compare the demo's targets; ``targets`` then names some of them.
        resume: Continue the run that is in the folder.
        identity_prompts: What is asked in the sampled arm (``settings.identity``), best something
            open-ended; the workload by default.
        identity: How the sampled answers are examined; with the first local target's weights by
            default.
        options: Options of the command line that ``run.json`` keeps, to resume the run with; see
            :class:`phi2sdk.measure.run_document.RunOptions`.
    """

    workload: Workload
    out: Path
    targets: Sequence[str | Target] = ()
    config: str | Path | None = None
    tokenizer: str | Path | None = None
    settings: Settings = field(default_factory=Settings)
    analysis: Analysis = field(default_factory=Analysis)
    demo: bool = False
    resume: bool = False
    identity_prompts: Workload | None = None
    identity: IdentityCheck = field(default_factory=IdentityCheck)
    options: Mapping[str, Any] = field(default_factory=dict)
    _counted_with: ReferenceTokenizer | None = None

    def check(self) -> list[str]:
        """Check what can be checked before a target is opened; return the names of the targets.

        Raises:
            ConfigurationError: Something must be corrected first.
        """
        names = target_names(self.targets, config=self.config, demo=self.demo)
        check_reference(self.settings.reference, names)
        self.analysis.check(names)
        if self.tokenizer is not None:
            given_tokenizer(self.tokenizer)
        RunFolder(self.out).check_place(resume=self.resume)
        return names

    async def measure(
        self,
        *,
        agree: Agree | None = None,
        watch: Watch | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        """Open the targets, measure them, and examine their sampled answers.

        Args:
            agree: Sets the budget before anything is sent.
            watch: Shows the progress.
            notice: Receives a sentence about each step that takes a while.

        Raises:
            ConfigurationError, InvalidRequest: Something must be corrected first; nothing was
                sent.
        """
        folder = RunFolder(self.out)
        async with opened(
            self.targets,
            config=self.config,
            tokenizer=self.tokenizer,
            demo=self.demo,
            notice=notice,
        ) as (candidates, tokenizer):
            comparison = Comparison(
                self.workload,
                candidates,
                tokenizer,
                self.settings,
                demo=self.demo,
                identity=self.identity_prompts,
            )
            self.analysis.check(list(comparison.candidates))
            self.identity.check(comparison.configuration()["targets"])
            folder.check(comparison.configuration(), resume=self.resume)
            recorded = folder.recorded()
            budget = None if agree is None else agree(comparison, recorded)
            await comparison.check()
            self._counted_with = tokenizer
            with nullcontext() if watch is None else watch(comparison, recorded) as progress:
                await comparison.run(
                    folder,
                    resume=self.resume,
                    progress=progress,
                    budget=budget,
                    options=self.options,
                )
        await self.identity.examine(folder, notice)

    def report(self) -> Report | None:
        """Write the report of what is recorded, and return it; ``None`` where nothing is."""
        if self._counted_with is None or not (self.out / RUN).exists():
            return None
        return report_of(RunFolder(self.out), self._counted_with, self.analysis)


async def compare(
    workload: Workload,
    targets: Sequence[str | Target] = (),
    *,
    out: str | Path,
    config: str | Path | None = None,
    tokenizer: str | Path | None = None,
    settings: Settings | None = None,
    analysis: Analysis | None = None,
    budget_usd: float | None = None,
    demo: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    identity_prompts: Workload | None = None,
    identity: IdentityCheck | None = None,
) -> Report:
    """Measure targets on a workload, write the folder of the run, and return its report.

    Args:
        workload: What is asked.
        targets: As for :class:`ComparisonRun`, as are the arguments that are not listed here.
        out: The folder of the run.
        config: The configuration.
        tokenizer: The ``tokenizer.json`` that all answers are counted with.
        settings: How to measure.
        analysis: How to evaluate the numbers.
        budget_usd: The maximum cost of the run in US dollars. The run stops before it would exceed
            the budget, and can be resumed with a larger one.
        demo: Compare the demo's targets.
        resume: Continue the run that is in the folder.
        progress: Receives the progress of the run.
        identity_prompts: What is asked in the sampled arm; in the demo prompts of its own.
        identity: How the sampled answers are examined.

    Raises:
        ConfigurationError, InvalidRequest: Something must be corrected first; nothing was sent.
    """
    if demo and identity_prompts is None:
        from phi2sdk.demo.targets import demo_identity_workload

        identity_prompts = demo_identity_workload()
    run = ComparisonRun(
        workload=workload,
        out=Path(out),
        targets=targets,
        config=config,
        tokenizer=tokenizer,
        settings=settings or Settings(),
        analysis=analysis or Analysis(),
        demo=demo,
        resume=resume,
        identity_prompts=identity_prompts,
        identity=identity or IdentityCheck(),
    )

    def agree(comparison: Comparison, recorded: Recorded) -> RunBudget | None:
        return None if budget_usd is None else comparison.budget(budget_usd, recorded)

    await run.measure(agree=agree, watch=lambda *_: nullcontext(progress))
    report = run.report()
    assert report is not None
    return report


def report_of(
    folder: RunFolder, tokenizer: ReferenceTokenizer, analysis: Analysis | None = None
) -> Report:
    """Build the report of a run, complete or not, and write its files.

    Raises:
        ConfigurationError: This is not the folder of a run.
    """
    run = folder.read()
    with paused_collector():
        measured = Measured.of(run, tokenizer, analysis)
        report = build_from(measured)
        write_reports(report, folder.path, measured)
    return report


@asynccontextmanager
async def opened(
    targets: Sequence[str | Target] = (),
    *,
    config: str | Path | None = None,
    tokenizer: str | Path | None = None,
    demo: bool = False,
    notice: Callable[[str], None] | None = None,
) -> AsyncGenerator[tuple[list[Candidate], ReferenceTokenizer], None]:
    """Open the candidates and the reference tokenizer; close them in the end.

    Args:
        targets: As for :func:`compare`.
        config: As for :func:`compare`.
        tokenizer: A ``tokenizer.json``, for all targets. Without one it is that of the first
            local target's checkpoint, else Phi-2's own from the hub's local cache, else an
            estimate that is marked as one.
        demo: As for :func:`compare`.
        notice: Receives a sentence about each step that takes a while.

    Raises:
        ConfigurationError: A target is unknown or cannot be built.
    """
    if demo:
        from phi2sdk.demo.targets import demo_candidates

        names = [t if isinstance(t, str) else t.name for t in targets]
        async with demo_candidates(names, notice=notice) as (candidates, own):
            yield candidates, own if tokenizer is None else given_tokenizer(tokenizer)
        return
    async with AsyncExitStack() as stack:
        candidates = []
        for target in _named(targets, config):
            candidate = Candidate.of(target)
            stack.push_async_callback(candidate.client.close)
            candidates.append(candidate)
        described = {c.name: c.describe() for c in candidates}
        if tokenizer is None:
            yield candidates, find_tokenizer(local_model(described))
        else:
            yield candidates, given_tokenizer(tokenizer)


def run_tokenizer(run: Run, tokenizer: str | Path | None = None) -> ReferenceTokenizer:
    """The reference tokenizer of a run that was made before; ``tokenizer`` as it was then."""
    if tokenizer is not None:
        return given_tokenizer(tokenizer)
    if run.configuration["demo"]:
        from phi2sdk.demo.targets import demo_tokenizer

        return demo_tokenizer()
    return find_tokenizer(local_model(run.configuration["targets"]))


def target_names(
    targets: Sequence[str | Target] = (), *, config: str | Path | None = None, demo: bool = False
) -> list[str]:
    """Return the names of the targets, without opening them; arguments as for :func:`compare`.

    Raises:
        ConfigurationError: A target is unknown, or there is none.
    """
    if demo:
        from phi2sdk.demo.targets import choose

        return choose([t if isinstance(t, str) else t.name for t in targets])
    return [target.name for target in _named(targets, config)]


def _named(targets: Sequence[str | Target], config: str | Path | None) -> list[Target]:
    if not targets:
        found = list(configured(config).values())
        if not found:
            raise ConfigurationError(
                "there is nothing to compare: name a target, write a phi2.toml, or run the demo"
            )
        return found
    return [resolve(t, config) if isinstance(t, str) else t for t in targets]
