"""The command line of ``phi2 doctor``, which checks the configured targets or the local engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from phi2sdk import backends
from phi2sdk.cli.errors import FAILED, NEXT_STEPS
from phi2sdk.cli.options import Config, flag, panel
from phi2sdk.cli.output import console, print_json, print_table
from phi2sdk.cli.trust import ask_first
from phi2sdk.completion import ServerSoftware
from phi2sdk.config.lookup import configured, in_environment
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError, Phi2Error

if TYPE_CHECKING:
    from phi2sdk.measure.engine import Agreement, EngineCheck

__all__ = ["Finding", "doctor", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of the check of one target.

    Attributes:
        target: The name of the target.
        backend: The name of its backend.
        ok: Whether the target can be used.
        state: The answer of the target, or what is wrong; empty if it is not configured.
        remedy: The next step; empty if none is needed.
        configured: Whether the file or the environment configures the target.
        server: The server software of a ready target and how it is known, for backends that
            depend on it.
    """

    target: str
    backend: str
    ok: bool
    state: str
    remedy: str = ""
    configured: bool = True
    server: ServerSoftware | None = None


async def examine(
    config: str | Path | None = None, environ: Mapping[str, str] | None = None
) -> list[Finding]:
    """Check every target of the file, and every backend that the environment configures.

    A backend that neither of them configures is listed too, with the steps to configure it. Each
    target that can be opened is asked once whether it is available, which costs no tokens.
    """
    environ = os.environ if environ is None else environ
    asked = _asked(config, environ)
    return await asyncio.gather(*(_examine(*one, environ) for one in asked))


def _asked(config: str | Path | None, environ: Mapping[str, str]) -> list[tuple[Target, bool]]:
    """Return the targets to check, each with whether it is configured."""
    written = configured(config)
    used = {target.backend for target in written.values()}
    asked = [(target, True) for target in written.values()]
    for name in backends.known():
        found = in_environment(name, environ)
        if name not in written and (found or name not in used):
            asked.append((Target(name, name), found))
    return asked


async def _examine(target: Target, configured: bool, environ: Mapping[str, str]) -> Finding:
    finding = partial(Finding, target.name, target.backend, configured=configured)
    try:
        backend = target.open(environ=environ)
    except Phi2Error as error:
        if configured:
            return finding(False, "cannot be opened", error.message)
        return finding(False, "", _how_to_configure(target.backend) or error.message)
    try:
        said = await backend.check()
        return finding(True, said, server=backend.software)
    except ConfigurationError as error:
        state, _, remedy = error.message.partition(". ")
        return finding(False, state, remedy)
    except Phi2Error as error:
        remedy = NEXT_STEPS.get(
            type(error).__name__, "check the log or the status page of the endpoint"
        )
        return finding(False, str(error), remedy)
    finally:
        with suppress(Phi2Error):
            await backend.close()


def _how_to_configure(name: str) -> str:
    """Return the variables to set; empty if something else is missing, such as a package."""
    try:
        cls = backends.find(name)
    except Phi2Error:
        return ""
    needed = [cls.environment[setting] for setting in cls.required if setting in cls.environment]
    variables = needed or list(cls.environment.values())[:1]
    if not variables or name == "local":
        return ""
    return f'set {" and ".join(variables)}, or write a target with backend = "{name}" in phi2.toml'


def doctor(
    config: Config = None,
    engine: Annotated[
        bool, flag(panel(), "--engine", help="Check the local engine on this machine instead.")
    ] = False,
    dtype: Annotated[
        str,
        panel()(
            metavar="DTYPE",
            help="With --engine: float32, float16 or bfloat16 (default: the one that fits).",
        ),
    ] = "auto",
    device: Annotated[
        str,
        panel()(metavar="DEVICE", help="With --engine: cuda, mps or cpu (default: the fastest)."),
    ] = "auto",
    json: Annotated[bool, flag(panel(), "--json", help="Print the results as JSON.")] = False,
) -> None:
    """Check which targets are ready, and show the next step for the others.

    The command checks the targets of phi2.toml and the backends that the environment
    configures. Each target is asked once whether it is available; no tokens are used.

    With --engine it checks the local engine: whether the bundled model answers as in
    float32 on the CPU, alone and in a batch, and how fast Phi-2's shape is decoded with
    random weights. This takes one to two minutes, and nothing is downloaded.

    Exit status:
      0    Every configured target is ready, or none is configured.
      2    The configuration file is wrong.
      3    A configured target is not ready, or answers of the engine are wrong.
      130  Interrupted.
    """
    if engine:
        _check_engine(dtype, device, json=json)
        return
    ask_first(list(configured(config)), config)
    findings = asyncio.run(examine(config))
    if json:
        print_json(findings)
    else:
        print_table(
            ("target", "backend", "state", "next step"),
            map(_cells, findings),
            console(),
            fold=("state", "next step"),
        )
    if any(finding.configured and not finding.ok for finding in findings):
        raise typer.Exit(FAILED)


def _check_engine(dtype: str, device: str, *, json: bool) -> None:
    from phi2sdk.measure.engine import check_engine

    progress = console(stderr=True)
    found = check_engine(
        cast("Any", device), dtype, notice=lambda step: progress.print(f"engine: {step} ...")
    )
    if json:
        print_json(found)
    else:
        to = console()
        to.print(f"{found.device}, {found.dtype}; {found.seconds:.0f} s")
        print_table(("check", "result"), _engine_rows(found), to, fold=("result",))
    if not found.ok:
        raise typer.Exit(FAILED)


def _engine_rows(found: EngineCheck) -> list[tuple[str, str]]:
    from phi2sdk.measure.engine import ROUNDING

    speed = found.speed
    layers = "" if speed.layers == 32 else f" ({speed.layers} of 32 layers)"
    return [
        (
            "largest difference of a log-probability from float32",
            f"{found.logprob_difference:.2g} nats (rounding: up to {ROUNDING[found.dtype]:g})",
        ),
        ("greedy answers equal to float32 on the CPU", _equal(found.greedy)),
        ("answers in a batch equal to those alone", _equal(found.batched)),
        ("memory bandwidth", f"{speed.read_gb_per_s:,.0f} GB/s"),
        *(
            (f"decoding, {count} in flight{layers}", f"{rate:,.1f} tokens/s")
            for count, rate in speed.tokens_per_s.items()
        ),
        ("share of the bandwidth, 1 in flight", f"{speed.bandwidth_share:.0%}"),
        ("time between two tokens", f"{speed.gap_ms:,.1f} ms"),
        ("the same while a prompt of 512 tokens joins", f"{speed.join_gap_ms:,.1f} ms"),
    ]


def _equal(found: Agreement) -> str:
    said = f"{found.answers - found.different} of {found.answers}"
    if found.ties:
        said += f"; {found.ties} differ at a tie, where rounding decides"
    if not found.ok:
        said += f"; {found.different - found.ties} are wrong"
    return said


def _cells(finding: Finding) -> tuple[str, str, str, str]:
    state = "ready" if finding.ok else "not ready" if finding.configured else "not configured"
    said = f"{state}: {finding.state}" if finding.state else state
    if finding.server is not None:
        said += f"; server: {finding.server}"
    return finding.target, finding.backend, said, finding.remedy
