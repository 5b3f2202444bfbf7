"""From the options of ``phi2 compare`` to the run that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

from phi2sdk.analysis.metrics import parse_slo
from phi2sdk.cli.compare_options import CompareOptions
from phi2sdk.cli.options import percent
from phi2sdk.cli.resume import first_run, kept, resumed
from phi2sdk.config.lookup import configured, load_book
from phi2sdk.errors import ConfigurationError
from phi2sdk.identity.check import IdentityCheck
from phi2sdk.identity.weights import HONEST, parse_honest
from phi2sdk.measure.comparison import Settings
from phi2sdk.measure.folder import RUN
from phi2sdk.measure.schedule import Load
from phi2sdk.measure.workload import (
    Workload,
    read_workload,
    recorded_identity_workload,
    recorded_workload,
)
from phi2sdk.pipeline import ComparisonRun
from phi2sdk.prompts import known_format
from phi2sdk.report.options import Analysis
from phi2sdk.report.requirements import Requirement

Notice = Callable[[str], None]
_INPUT = "give a .jsonl, .csv or .txt file, or - for standard input"


@dataclass(frozen=True, slots=True)
class Asked:
    """The comparison that the command line asks for, with its inputs read.

    Attributes:
        options: Complete: with those of the run that is resumed, and the folder.
        workload: The prompts.
        identity_prompts: Those of the sampled arm; the workload if ``None``.
        check: How the sampled answers are examined.
        named: Whether the demo was asked for by name, where this is the demo.
    """

    options: CompareOptions
    workload: Workload
    identity_prompts: Workload | None
    check: IdentityCheck
    named: bool

    @classmethod
    def of(cls, options: CompareOptions, given: Collection[str], notice: Notice) -> Self:
        """Read the inputs, and the run that is resumed.

        Args:
            options: As they were typed.
            given: The names of those that were typed.
            notice: Receives a sentence about ignored fields of an input.

        Raises:
            ConfigurationError, InvalidRequest: An option or an input is wrong.
        """
        _check_together(options)
        folder = options.output or options.out
        if options.resume and folder is None:
            raise ConfigurationError(
                "--resume needs the folder of the run that it continues: add --output FOLDER"
            )
        folder = folder or Path(datetime.now().strftime("phi2-run-%Y%m%d-%H%M%S"))
        options = replace(options, output=folder, out=None)
        named, configuration = options.demo or options.resume, None
        if options.resume:
            run = first_run(folder)
            run.check_place(resume=True)
            info = run.read_info()
            options, configuration = resumed(options, given, info), info["configuration"]
        elif not options.demo:
            demo = not (options.target or configured(options.config))
            options = replace(options, demo=demo)
        read = partial(
            read_workload,
            format=known_format(options.format),
            allow_control_tokens=options.allow_control_tokens,
            notice=notice,
        )
        return cls(
            _with_identity(options),
            _workload(options, configuration, read),
            _identity_prompts(options, configuration, read),
            _check(options),
            named,
        )

    @property
    def folder(self) -> Path:
        """The folder of the run, or of the sweep."""
        assert self.options.output is not None, "set by Asked.of"
        return self.options.output

    def run(self, load: Load, out: Path | None = None) -> ComparisonRun:
        """Return the run under a load.

        Args:
            load: The load.
            out: Its folder; :attr:`folder` by default.

        Raises:
            ConfigurationError: An option is wrong.
        """
        options = self.options
        return ComparisonRun(
            workload=self.workload,
            out=out or self.folder,
            targets=options.target or [],
            config=options.config,
            tokenizer=options.tokenizer,
            settings=self._settings(load),
            analysis=self._analysis(),
            demo=options.demo,
            resume=options.resume and (out is None or (out / RUN).exists()),
            identity_prompts=self.identity_prompts,
            identity=self.check,
            options=kept(options),
        )

    def load(self) -> Load:
        """Return the load of a single run."""
        options, kind = self.options, self.options.load
        if kind is None:
            kind = "closed" if options.concurrency != 1 else "sequential"
            kind = kind if options.rate is None else "poisson"
        return Load(kind, options.concurrency, options.rate)

    def _settings(self, load: Load) -> Settings:
        options = self.options
        return Settings(
            load=load,
            repetitions=2 if options.repeat is None else options.repeat,
            duration=options.duration,
            unique_prefix=options.unique_prefix,
            warmup=options.warmup,
            seed=options.seed,
            max_tokens=options.max_tokens,
            timeout=options.timeout,
            reference=options.reference,
            identity=options.identity or 0,
            identity_concurrency=_demo().IDENTITY_CONCURRENCY if options.demo else 8,
            logprobs=options.logprobs,
        )

    def _analysis(self) -> Analysis:
        options = self.options
        return Analysis(
            margin=percent(options.margin),
            slo=parse_slo(options.slo) if options.slo else {},
            requirements=tuple(Requirement.parse(text) for text in options.require or []),
            volume=options.volume,
            baseline=options.baseline,
            tokenizer_ratio=options.tokenizer_ratio,
            book=load_book(options.config),
            quality_model=options.quality_model,
        )


def _check_together(options: CompareOptions) -> None:
    """Check that no two options contradict each other.

    Raises:
        ConfigurationError: Two do.
    """
    if options.output is not None and options.out is not None:
        raise ConfigurationError("--out is the old name of --output: give one of them")
    if options.repeat is not None and options.duration is not None:
        raise ConfigurationError(
            "--repeat and --duration both say when the run ends: give one of them"
        )
    if options.sweep is not None:
        _check_sweep(options)
    no_format = options.task == "summarize" and known_format(options.format) != "instruct"
    if no_format and options.identity_prompts is None:
        raise ConfigurationError(
            f"--format {options.format} has no effect on --task summarize, whose template is "
            "fixed: add --task prompt, or leave out --format"
        )


def _check_sweep(options: CompareOptions) -> None:
    for name, why in (
        ("rate", "it has its own rates"),
        ("load", "its load is always poisson"),
        ("budget_usd", "a budget is for one run: make a run with --rate for each rate"),
        ("identity", "identity does not depend on the rate: make one run without --sweep"),
        ("logprobs", "identity does not depend on the rate: make one run without --sweep"),
    ):
        if getattr(options, name):
            raise ConfigurationError(f"--sweep does not take --{name.replace('_', '-')}: {why}")
    if options.concurrency != 1:
        raise ConfigurationError(
            "--sweep does not take --concurrency: it sends requests at fixed rates"
        )


def _with_identity(options: CompareOptions) -> CompareOptions:
    """With the number of sampled answers that was asked for, or the demo's."""
    if options.identity is not None:
        return options
    return replace(options, identity=_demo().IDENTITY if options.demo and not options.sweep else 0)


def _workload(
    options: CompareOptions, configuration: Mapping[str, Any] | None, read: Callable[..., Workload]
) -> Workload:
    if options.input is not None:
        return read(options.input, options.task)
    if configuration is not None:
        return recorded_workload(configuration)
    if not options.demo:
        raise ConfigurationError(f"there is no input: {_INPUT}")
    workload: Workload = _demo().demo_workload()
    return workload


def _identity_prompts(
    options: CompareOptions, configuration: Mapping[str, Any] | None, read: Callable[..., Workload]
) -> Workload | None:
    if options.identity_prompts is not None:
        return read(options.identity_prompts, "prompt")
    if configuration is not None:
        return recorded_identity_workload(configuration)
    workload: Workload | None = _demo().demo_identity_workload() if options.demo else None
    return workload


def _check(options: CompareOptions) -> IdentityCheck:
    asked = (options.identity_prompts, options.identity_model, options.honest, options.suspect)
    if not _with_identity(options).identity and any(asked):
        raise ConfigurationError(
            "there are no sampled answers to examine: add --identity 100, or leave out the "
            "other options of the identity tests"
        )
    honest = HONEST if options.honest is None else parse_honest(options.honest)
    return IdentityCheck(options.identity_model, honest, options.suspect or ())


def _demo() -> Any:
    from phi2sdk.demo import targets

    return targets
