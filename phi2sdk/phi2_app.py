"""What the ``phi2`` command can do; :mod:`phi2sdk.cli` is its door."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from phi2sdk import __version__
from phi2sdk import memory as sizes
from phi2sdk.command import FAILED
from phi2sdk.compare_cli import compare
from phi2sdk.diff_cli import diff
from phi2sdk.doctor import Finding, examine
from phi2sdk.errors import ConfigurationError
from phi2sdk.generate_cli import generate
from phi2sdk.prices_cli import prices
from phi2sdk.terminal import printable

__all__ = ["app"]

app = typer.Typer(
    name="phi2",
    help="Run Phi-2 anywhere, and compare the places.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The configuration; phi2.toml here by default.", dir_okay=False),
]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(f"phi2sdk {__version__}")
        raise typer.Exit


app.command(
    epilog="Example: phi2 compare paragraphs.txt --target gpu --target azure --out run/",
)(compare)
app.command(epilog="Example: phi2 diff run-monday run-tuesday")(diff)


app.command(
    epilog='Example: phi2 generate "Explain tides." --target local --max-tokens 100',
)(generate)


@app.command(epilog="Example: phi2 doctor --config phi2.toml")
def doctor(config: Config = None) -> None:
    """Say which targets are configured, installed and reachable, and what to do about the rest.

    Exit status:

    - 0: every target that phi2.toml or the environment configures is ready, or there is none

    - 2: phi2.toml is wrong

    - 3: a configured target is not ready
    """
    findings = asyncio.run(examine(config))
    table = Table(box=None, pad_edge=False)
    for column in ("target", "backend", "state", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(*(escape(printable(cell)) for cell in _cells(finding)))
    Console().print(table)
    if any(finding.configured and not finding.ok for finding in findings):
        raise typer.Exit(FAILED)


@app.command(epilog="Example: phi2 memory --context 2048 --batch 8 --dtype float16")
def memory(
    dtype: Annotated[
        list[str] | None,
        typer.Option(help="float32, float16, bfloat16, int8, int4; all by default."),
    ] = None,
    context: Annotated[
        list[int] | None, typer.Option(help="Tokens of a sequence, prompt and answer together.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Sequences at once.")] = 1,
    device: Annotated[
        str, typer.Option(help="Of this machine: cuda, cpu, or auto, the GPU if there is one.")
    ] = "auto",
) -> None:
    """Show how much memory Phi-2 needs, which GPUs hold it, and whether it fits here."""
    here = sizes.this_device(device)
    rows = sizes.table(
        dtypes=dtype or tuple(sizes.DTYPES), contexts=context or sizes.CONTEXTS, batch=batch
    )
    free = f"here: {here.name}, {here.memory_bytes / 1e9:.2f} GB free"
    table = Table(
        box=None,
        pad_edge=False,
        title=f"Memory of Phi-2 in GB (1e9 bytes); {free}",
        caption="fits: peak with the runtime. int8 and int4 are asked for by the setting quantize= "
        "of the backend local.",
    )
    for column in ("dtype", "context", "weights", "KV cache", "working", "total", "here", "fits"):
        left = column in ("dtype", "here", "fits")
        table.add_column(column, justify="left" if left else "right")
    for need, devices in rows:
        numbers = (need.weights_bytes, need.kv_bytes, need.working_bytes, need.total_bytes)
        peak = need.peak_bytes - (need.runtime_bytes if here.name == "CPU" else 0)
        table.add_row(
            need.dtype,
            f"{need.context:,}",
            *(_size(number) for number in numbers),
            "yes" if peak <= here.memory_bytes else "no",
            " ".join(devices) or "none of them",
        )
    Console().print(table)


app.command(epilog="Example: phi2 prices gpt-4 --check")(prices)


@app.command(
    epilog="Example: phi2 emulate --model demo --ttft 0.2 --per-token 0.02",
)
def emulate(
    model: Annotated[
        str | None, typer.Option(help="A checkpoint's folder, or demo for the bundled one.")
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="A file of answers (JSON, or one plain text).")
    ] = None,
    key: Annotated[str, typer.Option(help="The key that every provider accepts.")] = "test-key",
    ttft: Annotated[float, typer.Option(help="Seconds to the first token.")] = 0.0,
    per_token: Annotated[float, typer.Option(help="Seconds between tokens.")] = 0.0,
    port_base: Annotated[int, typer.Option(help="First of consecutive ports; 0: free ones.")] = 0,
    seconds: Annotated[
        float | None, typer.Option("--for", help="Stop by itself after so many seconds.")
    ] = None,
) -> None:
    """Serve Azure, Clarifai, Hugging Face and OpenAI on loopback, to test against."""
    from phi2sdk.emulator import serve as emulator

    try:
        emulator.serve(
            model=model,
            script=script,
            key=key,
            ttft=ttft,
            per_token=per_token,
            port_base=port_base,
            seconds=seconds,
            say=typer.echo,
            warn=partial(typer.echo, err=True),
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _size(number: float) -> str:
    """In GB; what would be 0.00 in MB."""
    return f"{number / 1e9:.2f}" if number >= 0.01e9 else f"{number / 1e6:.1f} MB"


def _cells(finding: Finding) -> tuple[str, str, str, str]:
    state = "ready" if finding.ok else "not ready" if finding.configured else "not configured"
    said = f"{state}: {finding.state}" if finding.state else state
    return finding.target, finding.backend, said, finding.remedy
