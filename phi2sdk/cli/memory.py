"""``phi2 memory``: how much Phi-2 needs, and what fits."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from phi2sdk.backends.engine import memory as sizes
from phi2sdk.cli.output import plain, print_json

__all__ = ["memory"]


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
    json: Annotated[bool, typer.Option("--json", help="Print bytes as JSON.")] = False,
) -> None:
    """Show how much memory Phi-2 needs, which GPUs hold it, and whether it fits here.

    Exit status:

    - 0: shown

    - 2: bad usage
    """
    here = sizes.this_device(device)
    rows = list(
        sizes.table(
            dtypes=dtype or tuple(sizes.DTYPES), contexts=context or sizes.CONTEXTS, batch=batch
        )
    )
    if json:
        needs = [_plain(need, here, devices) for need, devices in rows]
        print_json({"here": here, "needs": needs})
        return
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
        table.add_row(
            need.dtype,
            f"{need.context:,}",
            *(_size(number) for number in numbers),
            "yes" if _fits(need, here) else "no",
            " ".join(devices) or "none of them",
        )
    Console().print(table)


def _plain(need: sizes.Plan, here: sizes.ComputeDevice, devices: object) -> dict[str, object]:
    sums = {"total_bytes": need.total_bytes, "peak_bytes": need.peak_bytes}
    return {**plain(need), **sums, "fits_here": _fits(need, here), "fits": devices}


def _fits(need: sizes.Plan, here: sizes.ComputeDevice) -> bool:
    """On a CPU there is no runtime beside the model, as CUDA is one."""
    runtime = need.runtime_bytes if here.name == "CPU" else 0
    return need.peak_bytes - runtime <= here.memory_bytes


def _size(number: float) -> str:
    """In GB; what would be 0.00 in MB."""
    return f"{number / 1e9:.2f}" if number >= 0.01e9 else f"{number / 1e6:.1f} MB"
