"""The command line of ``phi2 memory``, which shows how much memory Phi-2 needs."""

from __future__ import annotations

from typing import Annotated

from phi2sdk.backends.engine import memory as sizes
from phi2sdk.cli.options import flag, panel
from phi2sdk.cli.output import console, plain, print_json, print_table

_option = panel()
_NUMBERS = ("context (tokens)", "weights (GB)", "KV cache (GB)", "working (MB)", "total (GB)")


def memory(
    dtype: Annotated[
        list[str] | None,
        _option(
            metavar="NAME",
            help="float32, float16, bfloat16, int8 or int4; repeatable (default: all).",
        ),
    ] = None,
    context: Annotated[
        list[int] | None,
        _option(
            metavar="N",
            help="Tokens of one sequence, prompt and answer together; repeatable "
            f"(default: {', '.join(map(str, sizes.CONTEXTS))}).",
        ),
    ] = None,
    batch: Annotated[
        int, _option(metavar="N", help="Number of sequences in one batch (default: 1).")
    ] = 1,
    device: Annotated[
        str,
        _option(
            metavar="NAME",
            help="Device of this machine: cuda, cpu or auto, which prefers a GPU (default: auto).",
        ),
    ] = "auto",
    json: Annotated[
        bool, flag(_option, "--json", help="Print the numbers as JSON, in bytes.")
    ] = False,
) -> None:
    """Show how much memory Phi-2 needs, and which GPUs are large enough.

    Exit status:
      0    The table was printed.
      2    The usage is wrong.
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
    to = console()
    to.print(
        f"Memory of Phi-2 (1 GB is 1e9 bytes). {here.name} of this machine: "
        f"{here.memory_bytes / 1e9:.2f} GB free.",
    )
    print_table(
        ("dtype", *_NUMBERS, "fits here", "large enough GPUs"),
        (
            (
                need.dtype,
                f"{need.context:,}",
                f"{need.weights_bytes / 1e9:.2f}",
                f"{need.kv_bytes / 1e9:.2f}",
                f"{need.working_bytes / 1e6:.1f}",
                f"{need.total_bytes / 1e9:.2f}",
                "yes" if _fits(need, here) else "no",
                " ".join(devices) or "none of the list",
            )
            for need, devices in rows
        ),
        to,
        right=_NUMBERS,
        fold=("large enough GPUs",),
    )
    to.print(
        "A GPU is large enough if it holds the total and the CUDA runtime. The setting quantize "
        "of the backend local selects int8 and int4.",
    )


def _plain(need: sizes.Plan, here: sizes.ComputeDevice, devices: object) -> dict[str, object]:
    sums = {"total_bytes": need.total_bytes, "peak_bytes": need.peak_bytes}
    return {**plain(need), **sums, "fits_here": _fits(need, here), "fits": devices}


def _fits(need: sizes.Plan, here: sizes.ComputeDevice) -> bool:
    """Return whether the device has enough free memory. Only a GPU holds the CUDA runtime too."""
    runtime = need.runtime_bytes if here.name == "CPU" else 0
    return need.peak_bytes - runtime <= here.memory_bytes
