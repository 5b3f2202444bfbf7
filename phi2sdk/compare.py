"""Compare targets: measure them on the same prompts, then report.

::

    report = await compare("paragraphs.txt", ["azure_eastus", "local"], out="run")
    print(report.targets["azure_eastus"].latency.e2e.p50)

``python -m phi2sdk.compare`` is the same on the command line; with nothing configured it runs the
demo.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below: a missing one is told in one line
    from phi2sdk.cli import compare_main

    compare_main()

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from phi2sdk.config.target import Target, configured, resolve
from phi2sdk.errors import ConfigurationError
from phi2sdk.identity.check import IdentityCheck
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.comparison import Comparison, Progress, Settings
from phi2sdk.measure.folder import Run, RunFolder
from phi2sdk.measure.tokens import (
    ReferenceTokenizer,
    find_tokenizer,
    given_tokenizer,
    local_model,
)
from phi2sdk.measure.workload import Workload
from phi2sdk.report.build import build
from phi2sdk.report.files import write_reports
from phi2sdk.report.options import Analysis
from phi2sdk.report.schema import Report

__all__ = [
    "Comparison",
    "IdentityCheck",
    "Progress",
    "Settings",
    "compare",
    "demo_identity",
    "opened",
    "report_of",
    "run_tokenizer",
    "target_names",
]


def report_of(
    folder: RunFolder, tokenizer: ReferenceTokenizer, analysis: Analysis | None = None
) -> Report:
    """Make the report of a run as it stands, and write its files.

    Raises:
        ConfigurationError: This is not the folder of a run.
    """
    run = folder.read()
    report = build(run, tokenizer, analysis or Analysis())
    write_reports(report, folder.path, run, tokenizer)
    return report


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
        targets: Names from the configuration, backends, or targets; all configured ones if none
            is named.
        out: The folder of the run.
        config: The configuration; ``phi2.toml`` of the working directory by default.
        tokenizer: The ``tokenizer.json`` that all answers are counted with; see :func:`opened`.
        settings: How to measure.
        analysis: What to ask of the numbers: margin, service levels, requirements.
        budget_usd: A hard cap on what the run may cost; it stops in order before it would come
            above, and can be resumed with a larger one.
        demo: Compare the demo's targets; ``targets`` then names some of them.
        resume: Go on with the run that is in the folder.
        progress: Is told how it goes on.
        identity_prompts: What is asked in the sampled arm (``settings.identity``), best something
            open-ended; the workload by default, in the demo prompts of its own.
        identity: How its answers are examined; with the first local target's weights by default.

    Raises:
        ConfigurationError, InvalidRequest: Something must be mended first; nothing was sent.
    """
    folder = RunFolder(out)
    async with opened(targets, config=config, tokenizer=tokenizer, demo=demo) as found:
        candidates, reference = found
        comparison = Comparison(
            workload,
            candidates,
            reference,
            settings or Settings(),
            demo=demo,
            identity=identity_prompts or (demo_identity() if demo else None),
        )
        if analysis is not None:
            analysis.check(list(comparison.candidates))
        folder.check(comparison.configuration(), resume=resume)
        budget = None
        if budget_usd is not None:
            budget = comparison.budget(budget_usd, folder.recorded())
        await comparison.check()
        await comparison.run(folder, resume=resume, progress=progress, budget=budget)
    await (identity or IdentityCheck()).examine(folder)
    return report_of(folder, reference, analysis)


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
        notice: Is told what takes a while.

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
    """Who would be compared, without opening anything; arguments as for :func:`compare`.

    Raises:
        ConfigurationError: A target is unknown, or there is none.
    """
    if demo:
        from phi2sdk.demo.targets import choose

        return choose([t if isinstance(t, str) else t.name for t in targets])
    return [target.name for target in _named(targets, config)]


def demo_identity() -> Workload:
    """What the demo asks in its sampled arm: open-ended questions, since entropy decides power."""
    from phi2sdk.demo.targets import demo_identity_workload

    return demo_identity_workload()


def _named(targets: Sequence[str | Target], config: str | Path | None) -> list[Target]:
    if not targets:
        found = list(configured(config).values())
        if not found:
            raise ConfigurationError(
                "there is nothing to compare: name a target, write a phi2.toml, or run the demo"
            )
        return found
    return [resolve(t, config) if isinstance(t, str) else t for t in targets]
