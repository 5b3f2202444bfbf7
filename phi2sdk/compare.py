"""Compare targets: measure them on the same prompts, then report.

::

    report = await compare("paragraphs.txt", ["azure_eastus", "local"], out="run")
    print(report.targets["azure_eastus"].latency.e2e.p50)

``python -m phi2sdk.compare`` is the same on the command line; with nothing configured it runs the
demo.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from phi2sdk.comparison import Comparison, Progress, Settings
from phi2sdk.config import DEFAULT_CONFIG, Target, load_config, resolve
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.folder import Run, RunFolder
from phi2sdk.measure.tokens import ReferenceTokenizer, find_tokenizer
from phi2sdk.measure.workload import Workload
from phi2sdk.report.analysis import Analysis
from phi2sdk.report.build import build
from phi2sdk.report.files import write_reports
from phi2sdk.report.schema import Report

__all__ = [
    "Comparison",
    "Progress",
    "Settings",
    "compare",
    "configured",
    "opened",
    "report_of",
    "run_tokenizer",
]


def report_of(
    folder: RunFolder, tokenizer: ReferenceTokenizer, analysis: Analysis | None = None
) -> Report:
    """Make the report of a run as it stands, and write its files.

    Raises:
        ConfigurationError: This is not the folder of a run.
    """
    report = build(folder.read(), tokenizer, analysis or Analysis())
    write_reports(report, folder.path)
    return report


async def compare(
    workload: Workload,
    targets: Sequence[str | Target] = (),
    *,
    out: str | Path,
    config: str | Path | None = None,
    settings: Settings | None = None,
    analysis: Analysis | None = None,
    budget_usd: float | None = None,
    demo: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Measure targets on a workload, write the folder of the run, and return its report.

    Args:
        workload: What is asked.
        targets: Names from the configuration, backends, or targets; all configured ones if none
            is named.
        out: The folder of the run.
        config: The configuration; ``phi2.toml`` of the working directory by default.
        settings: How to measure.
        analysis: What to ask of the numbers: margin, service levels, requirements.
        budget_usd: A hard cap on what the run may cost; it stops in order before it would come
            above, and can be resumed with a larger one.
        demo: Compare the demo's targets; ``targets`` then names some of them.
        resume: Go on with the run that is in the folder.
        progress: Is told how it goes on.

    Raises:
        ConfigurationError, InvalidRequest: Something must be mended first; nothing was sent.
    """
    folder = RunFolder(out)
    async with opened(targets, config=config, demo=demo) as (candidates, tokenizer):
        comparison = Comparison(workload, candidates, tokenizer, settings or Settings(), demo=demo)
        if analysis is not None:
            analysis.check(list(comparison.candidates))
        folder.check(comparison.configuration(), resume=resume)
        budget = None
        if budget_usd is not None:
            budget = comparison.budget(budget_usd, folder.recorded())
        await comparison.check()
        await comparison.run(folder, resume=resume, progress=progress, budget=budget)
    return report_of(folder, tokenizer, analysis)


@asynccontextmanager
async def opened(
    targets: Sequence[str | Target] = (),
    *,
    config: str | Path | None = None,
    demo: bool = False,
    notice: Callable[[str], None] | None = None,
) -> AsyncGenerator[tuple[list[Candidate], ReferenceTokenizer], None]:
    """Open the candidates and the reference tokenizer; close them in the end.

    Args:
        targets: As for :func:`compare`.
        config: As for :func:`compare`.
        demo: As for :func:`compare`.
        notice: Is told what takes a while.

    Raises:
        ConfigurationError: A target is unknown or cannot be built.
    """
    if demo:
        from phi2sdk.compare_demo import demo_candidates

        names = [t if isinstance(t, str) else t.name for t in targets]
        async with demo_candidates(names, notice=notice) as found:
            yield found
        return
    async with AsyncExitStack() as stack:
        candidates = []
        for target in _named(targets, config):
            candidate = Candidate.of(target)
            stack.push_async_callback(candidate.client.close)
            candidates.append(candidate)
        yield candidates, find_tokenizer()


def run_tokenizer(run: Run) -> ReferenceTokenizer:
    """The reference tokenizer of a run that was made before."""
    if run.configuration["demo"]:
        from phi2sdk.compare_demo import demo_tokenizer

        return demo_tokenizer()
    return find_tokenizer()


def configured(config: str | Path | None) -> dict[str, Target]:
    """The targets of the configuration; none where there is no file and none was asked for."""
    if config is None and not Path(DEFAULT_CONFIG).is_file():
        return {}
    return load_config(config or DEFAULT_CONFIG)


def _named(targets: Sequence[str | Target], config: str | Path | None) -> list[Target]:
    if not targets:
        found = list(configured(config).values())
        if not found:
            raise ConfigurationError(
                "there is nothing to compare: name a target, write a phi2.toml, or run the demo"
            )
        return found
    return [resolve(t, config) if isinstance(t, str) else t for t in targets]


def main() -> None:
    """``python -m phi2sdk.compare``."""
    from phi2sdk.compare_cli import main as run

    run()


if __name__ == "__main__":
    main()
