"""The options of ``phi2 compare``, declared once.

The values of :class:`CompareOptions` that the configuration of a run does not contain are written
into ``run.json`` (see :mod:`phi2sdk.cli.resume`), so that ``--resume`` needs no other option.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from phi2sdk.cli.options import complete_formats, complete_targets, flag, panel
from phi2sdk.prompts import FORMATS

_input = panel("Input")
_targets = panel("Targets")
_load = panel("Load")
_sampling = panel("Sampling")
_cost = panel("Cost")
_identity = panel("Identity")
_quality = panel("Quality")
_requirements = panel("Requirements")
_output = panel("Output")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """The options of one comparison, as they were typed; the help texts say what each one is."""

    input: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT",
            help="Texts: a .jsonl, .csv or .txt file, or - for standard input.",
            show_default=False,
        ),
    ] = None
    task: Annotated[
        Literal["summarize", "prompt"],
        _input(
            metavar="NAME",
            help="Task for each text: summarize it, or send it as a prompt (default: summarize).",
        ),
    ] = "summarize"
    format: Annotated[
        str,
        _input(
            metavar="NAME",
            help=f"Format of --task prompt: {', '.join(FORMATS)} (default: instruct).",
            autocompletion=complete_formats,
        ),
    ] = "instruct"
    allow_control_tokens: Annotated[
        bool, flag(_input, "--allow-control-tokens", help="Allow <|endoftext|> in the texts.")
    ] = False
    target: Annotated[
        list[str] | None,
        _targets(
            "--target",
            "-t",
            metavar="NAME",
            help="Target of phi2.toml, or a backend; repeatable (default: all of phi2.toml).",
            autocompletion=complete_targets,
        ),
    ] = None
    config: Annotated[
        Path | None,
        _targets(metavar="FILE", help="Configuration (default: phi2.toml).", dir_okay=False),
    ] = None
    demo: Annotated[bool, flag(_targets, "--demo", help="Compare the targets of the demo.")] = False
    reference: Annotated[
        str | None,
        _targets(
            metavar="NAME",
            help="Target that the others are compared with (default: the first local target).",
        ),
    ] = None
    repeat: Annotated[
        int | None, _load(metavar="N", help="Requests per prompt and target (default: 2).")
    ] = None
    concurrency: Annotated[
        int, _load(metavar="N", help="Requests in flight per target (default: 1).")
    ] = 1
    rate: Annotated[
        float | None, _load(metavar="RATE", help="Requests per second and target (Poisson).")
    ] = None
    sweep: Annotated[
        str | None,
        _load(metavar="RATE,...", help="Compare runs at several request rates."),
    ] = None
    duration: Annotated[
        float | None, _load(metavar="SECONDS", help="Time to measure, instead of --repeat.")
    ] = None
    warmup: Annotated[
        int, _load(metavar="N", help="Unmeasured requests per target (default: 1).")
    ] = 1
    timeout: Annotated[
        float, _load(metavar="SECONDS", help="Limit for each request (default: 60).")
    ] = 60
    load: Annotated[
        Literal["sequential", "closed", "poisson"] | None,
        _load(metavar="KIND", help="sequential, closed (--concurrency) or poisson (--rate)."),
    ] = None
    unique_prefix: Annotated[
        bool,
        flag(
            _load,
            "--unique-prefix",
            help="Add a unique prefix to each repetition, to defeat caches.",
        ),
    ] = False
    max_tokens: Annotated[
        int, _sampling(metavar="N", help="Maximum number of output tokens (default: 128).")
    ] = 128
    seed: Annotated[
        int, _sampling(metavar="N", help="Seed of order, arrivals and sampling (default: 0).")
    ] = 0
    volume: Annotated[
        float | None, _cost(metavar="N", help="Compare costs at N answers per day.")
    ] = None
    baseline: Annotated[
        str | None,
        _cost(metavar="NAME", help="Compare costs with a model, such as gpt-4, or with a target."),
    ] = None
    budget_usd: Annotated[
        float | None, _cost(metavar="USD", help="Stop the run before it costs more.")
    ] = None
    yes: Annotated[
        bool, flag(_cost, "--yes", "-y", help="Accept --budget-usd without a question.")
    ] = False
    tokenizer_ratio: Annotated[
        float,
        _cost(metavar="RATIO", help="Tokens of the baseline per token of Phi-2 (default: 1.0)."),
    ] = 1.0
    identity: Annotated[
        int | None,
        _identity(
            metavar="N",
            help="Sampled answers per target, to test whether it serves Phi-2 (default: 0; "
            "demo: 72).",
        ),
    ] = None
    identity_prompts: Annotated[
        Path | None,
        _identity(metavar="FILE", help="Prompts for --identity (default: INPUT)."),
    ] = None
    identity_model: Annotated[
        str | None,
        _identity(
            metavar="MODEL",
            help="Local weights to compare with (default: those of the first local target).",
        ),
    ] = None
    honest: Annotated[
        str | None,
        _identity(
            metavar="LIST",
            help="Precisions that count as the same model (default: float32,bfloat16).",
        ),
    ] = None
    suspect: Annotated[
        list[str] | None,
        _identity(metavar="MODEL", help="Other weights to test against; repeatable."),
    ] = None
    logprobs: Annotated[
        int,
        _identity(
            metavar="N", help="Answers that each target scores by log-probability (default: 0)."
        ),
    ] = 0
    quality_model: Annotated[
        Path | None,
        _quality(
            metavar="FOLDER",
            help="sentence-transformers model that compares answers with references.",
            file_okay=False,
        ),
    ] = None
    tokenizer: Annotated[
        Path | None,
        _quality(
            metavar="FILE",
            help="tokenizer.json to count with (default: that of the local model).",
            dir_okay=False,
        ),
    ] = None
    slo: Annotated[
        str | None,
        _requirements(metavar="LIST", help="Latency limits in seconds, such as ttft=0.5,e2e=5."),
    ] = None
    require: Annotated[
        list[str] | None,
        _requirements(
            metavar="RULE",
            help="Exit with status 1 unless the rule holds, such as "
            "'targets.gpu.latency.e2e.p95 < 2'; repeatable.",
        ),
    ] = None
    margin: Annotated[
        str,
        _requirements(
            metavar="PERCENT", help="Difference that counts as equivalent (default: 5%)."
        ),
    ] = "5%"
    output: Annotated[
        Path | None,
        _output(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder of the run (default: phi2-run-DATE-TIME).",
        ),
    ] = None
    out: Annotated[Path | None, typer.Option("--out", hidden=True)] = None
    resume: Annotated[bool, flag(_output, "--resume", help="Continue the run in --output.")] = False
    json: Annotated[bool, flag(_output, "--json", help="Print the report as JSON.")] = False
    quiet: Annotated[bool, flag(_output, "--quiet", "-q", help="Print the report only.")] = False
    verbose: Annotated[
        bool, flag(_output, "--verbose", "-v", help="Print each retry and detected server.")
    ] = False
