"""The command line of ``phi2 plan``: how many calls and dollars a verdict needs."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from phi2sdk.cli.options import (
    AllowControlTokens,
    advice_as_options,
    complete_formats,
    complete_targets,
)
from phi2sdk.errors import ConfigurationError
from phi2sdk.prompts import FORMATS, Format, known_format
from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from phi2sdk.identity.power_plan import PlannedCalls, Plans

__all__ = ["plan"]


@advice_as_options()
def plan(
    detect: Annotated[
        list[str] | None,
        typer.Option(
            help="What must be found: t=0.8, top_p=0.9, top_k=20, int8, int4, template=qa, "
            "other=FOLDER, route=0.2:int4, route=0.2:FOLDER; repeatable. [int4]"
        ),
    ] = None,
    power: Annotated[float, typer.Option(help="The probability that it is found.")] = 0.95,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="What will be asked: a .jsonl, .csv or .txt file. [the demo's]", dir_okay=False
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(help=f"Prompt format: {', '.join(FORMATS)}.", autocompletion=complete_formats),
    ] = "instruct",
    allow_control_tokens: AllowControlTokens = False,
    model: Annotated[str, typer.Option(help="The weights: a folder, a hub id, or demo.")] = "demo",
    honest: Annotated[
        str, typer.Option(help="Precisions in which the model counts as itself.")
    ] = "float32,float16,bfloat16",
    max_tokens: Annotated[int, typer.Option(help="At most so many tokens an answer.")] = 64,
    targets: Annotated[int, typer.Option(help="That will be tested in the same run.")] = 1,
    alpha: Annotated[
        float, typer.Option(help="The probability that any honest target at all is accused.")
    ] = 0.05,
    pilot: Annotated[
        int, typer.Option(help="Texts of each author that are sampled here to find out.")
    ] = 256,
    seed: Annotated[int, typer.Option(help="Of the pilot's texts.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cuda, cpu or mps.")] = "auto",
    run: Annotated[
        Path | None,
        typer.Option(
            help="Take everything from the calibration in a run's folder; no weights are loaded. "
            "For what stands in its line-up.",
            file_okay=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help="Whose price counts.", autocompletion=complete_targets),
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="A price of the price book, as together/phi-2.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="The configuration; phi2.toml here by default.", dir_okay=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Say how many calls, tokens and dollars it takes to see that a target is not the model.

    Exit status:

    - 0: the plan is printed

    - 2: bad usage or configuration
    """
    from phi2sdk.identity.power_plan import PlanSetting, from_run, from_weights
    from phi2sdk.identity.weights import Weights, parse_honest

    wanted = detect or ["int4"]
    asked = PlanSetting(power=power, alpha=alpha, targets=targets)
    usd = _price(target, price, config)
    if run is not None:
        if prompts is not None:
            raise ConfigurationError("--run brings its own prompts: leave --prompts out")
        found = from_run(run, wanted, asked, usd)
    else:
        say = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
        asked_for = _prompts(
            prompts, known_format(format), allow_control_tokens=allow_control_tokens, say=say
        )
        found = from_weights(
            Weights(model=model, honest=parse_honest(honest), device=device),
            wanted,
            asked,
            usd,
            prompts=asked_for,
            format=known_format(format),
            max_tokens=max_tokens,
            calls=pilot,
            seed=seed,
            notice=lambda text: say.print(text, style="dim"),
        )
    if json:
        sys.stdout.write(dumps(found.to_json(), indent=2) + "\n")
    else:
        _show(found, Console(width=None if sys.stdout.isatty() else 80, highlight=False))


def _prompts(
    path: Path | None, format: Format, *, allow_control_tokens: bool, say: Console
) -> tuple[str, ...]:
    from phi2sdk.demo import open_ended_path
    from phi2sdk.measure.workload import read_workload

    workload = read_workload(
        path or open_ended_path(),
        "prompt",
        format=format,
        allow_control_tokens=allow_control_tokens,
        notice=say.print,
    )
    return tuple(dict.fromkeys(prompt.text for prompt in workload.prompts().values()))


def _price(target: str | None, name: str | None, config: Path | None) -> Any:
    """The price that is asked for; ``None`` where none is."""
    from phi2sdk.config.lookup import load_book, resolve
    from phi2sdk.pricing.price import resolve as resolve_price

    if name is not None:
        if target is not None:
            raise ConfigurationError("give --target or --price, not both")
        return resolve_price({"book": name}, load_book(config))
    if target is None:
        return None
    found = resolve(target, config).price
    if found is None:
        raise ConfigurationError(
            f"the target {target!r} has no price: write one into its table, or give --price"
        )
    return found


def _show(found: Plans, console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("to find", "calls", "likely", "output tokens", "USD", "nats/token", "found by"):
        left = title in ("to find", "found by")
        table.add_column(Text(title, style="bold"), justify="left" if left else "right")
    for one in found.plans:
        table.add_row(*(Text(for_terminal(cell)) for cell in _cells(one)))
    console.print(table)
    for line in found.notes():
        console.print(Text(for_terminal(line)))


def _cells(one: PlannedCalls) -> tuple[str, ...]:
    if one.calls is None:
        calls, likely, tokens = "more than 1,000,000", "-", "-"
    else:
        high = "more" if one.high is None else f"{one.high:,}"
        likely = "-" if one.low is None else f"{one.low:,} to {high}"
        calls, tokens = f"{one.calls:,}", f"{round(one.output_tokens or 0):,}"
    usd = "-" if one.usd is None else f"{one.usd:.2g}"
    kl = "-" if one.kl is None else f"{one.kl:.2g}"
    return one.name, calls, likely, tokens, usd, kl, one.instrument or "-"
