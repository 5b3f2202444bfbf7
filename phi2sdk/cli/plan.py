"""The command line of ``phi2 plan``, which estimates the calls that an identity test needs."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from phi2sdk.cli.options import (
    AllowControlTokens,
    Format,
    advice_as_options,
    complete_targets,
    flag,
    panel,
)
from phi2sdk.cli.output import console, print_lines, print_table
from phi2sdk.errors import ConfigurationError
from phi2sdk.prompts import Format as PromptFormat
from phi2sdk.prompts import known_format

if TYPE_CHECKING:
    from rich.console import Console

    from phi2sdk.identity.power_plan import PlannedCalls, Plans

_test, _model, _prompts_panel = panel("Test"), panel("Model"), panel("Prompt")
_cost, _output = panel("Cost"), panel("Output")


@advice_as_options()
def plan(
    detect: Annotated[
        list[str] | None,
        _test(
            metavar="CHANGE",
            help="Change to detect: t=0.8, top_p=0.9, top_k=20, min_p=0.05, int8, int4, int3, "
            "template=qa, system=SENTENCE, other=FOLDER, route=0.2:int4, route=0.2:FOLDER; "
            "repeatable (default: int4).",
        ),
    ] = None,
    power: Annotated[
        float,
        _test(metavar="P", help="Probability that the change is detected (default: 0.95)."),
    ] = 0.95,
    alpha: Annotated[
        float,
        _test(
            metavar="P",
            help="Probability that any unchanged target of the run is reported (default: 0.05).",
        ),
    ] = 0.05,
    targets: Annotated[
        int, _test(metavar="N", help="Number of targets that the run tests (default: 1).")
    ] = 1,
    run: Annotated[
        Path | None,
        _test(
            metavar="FOLDER",
            help="Run whose calibration is used, without loading weights. --detect names "
            "candidates of that run.",
            file_okay=False,
        ),
    ] = None,
    model: Annotated[
        str,
        _model(
            "--model",
            "-m",
            metavar="NAME",
            help="Local weights: a folder, a hub id, or demo (default: demo).",
        ),
    ] = "demo",
    honest: Annotated[
        str,
        _model(
            metavar="LIST",
            help="Precisions of the local weights that count as the same model (default: "
            "float32,bfloat16).",
        ),
    ] = "float32,bfloat16",
    pilot: Annotated[
        int,
        _model(
            metavar="N",
            help="Answers that are sampled here from each candidate (default: 256).",
        ),
    ] = 256,
    seed: Annotated[int, _model(metavar="N", help="Seed of the pilot answers (default: 0).")] = 0,
    device: Annotated[
        str, _model(metavar="NAME", help="auto, cuda, cpu or mps (default: auto).")
    ] = "auto",
    prompts: Annotated[
        Path | None,
        _prompts_panel(
            metavar="FILE",
            help="Prompts of the planned run: .jsonl, .csv or .txt (default: those of the demo).",
            dir_okay=False,
        ),
    ] = None,
    format: Format = "instruct",
    allow_control_tokens: AllowControlTokens = False,
    max_tokens: Annotated[
        int,
        _prompts_panel(metavar="N", help="Maximum number of output tokens (default: 64)."),
    ] = 64,
    target: Annotated[
        str | None,
        _cost(
            "--target",
            "-t",
            metavar="NAME",
            help="Target whose price is used (default: no price).",
            autocompletion=complete_targets,
        ),
    ] = None,
    price: Annotated[
        str | None,
        _cost(metavar="ID", help="Price of the price book to use, such as together/phi-2."),
    ] = None,
    config: Annotated[
        Path | None,
        _cost(metavar="FILE", help="Configuration file (default: phi2.toml).", dir_okay=False),
    ] = None,
    json: Annotated[bool, flag(_output, "--json", help="Print the plan as JSON.")] = False,
    quiet: Annotated[
        bool, flag(_output, "--quiet", "-q", help="Print the plan only, no progress.")
    ] = False,
) -> None:
    """Estimate how many calls, tokens and dollars an identity test needs.

    An identity test detects that a target serves a different model or other sampling
    parameters than it claims. The command samples answers from local weights; it
    sends no request to a target.

    Exit status:
      0  The plan was printed.
      2  The usage or the configuration is wrong.
    """
    from phi2sdk.identity.power_plan import PlanSetting, from_run, from_weights
    from phi2sdk.identity.weights import Weights, parse_honest

    wanted = detect or ["int4"]
    asked = PlanSetting(power=power, alpha=alpha, targets=targets)
    usd = _price(target, price, config)
    if run is not None:
        if prompts is not None:
            raise ConfigurationError("--run uses the prompts of that run: leave out --prompts")
        found = from_run(run, wanted, asked, usd)
    else:
        say = console(stderr=True)
        say.quiet = quiet
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
        _show(found, console())


def _prompts(
    path: Path | None, format: PromptFormat, *, allow_control_tokens: bool, say: Console
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
    """Return the price that the options choose; ``None`` without such an option."""
    from phi2sdk.config.lookup import load_book, resolve
    from phi2sdk.pricing.price import resolve as resolve_price

    if name is not None:
        if target is not None:
            raise ConfigurationError(
                "--target and --price both choose a price: leave one of them out"
            )
        return resolve_price({"book": name}, load_book(config))
    if target is None:
        return None
    found = resolve(target, config).price
    if found is None:
        raise ConfigurationError(
            f"the target {target!r} has no price: add price to its table in phi2.toml, or use "
            "--price"
        )
    return found


_NUMBERS = ("calls", "95% interval", "output tokens", "cost (USD)", "nats per token")


def _show(found: Plans, to: Console) -> None:
    print_table(
        ("change", *_NUMBERS, "test"),
        map(_cells, found.plans),
        to,
        right=_NUMBERS,
        fold=("change", "test"),
    )
    print_lines(to, *found.notes())


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
