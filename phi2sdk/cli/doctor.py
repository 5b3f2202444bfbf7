"""Which targets are configured, installed and reachable, and what to do about the rest."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from phi2sdk import backends
from phi2sdk.cli.errors import FAILED
from phi2sdk.cli.options import Config
from phi2sdk.cli.output import print_json
from phi2sdk.cli.trust import ask_first
from phi2sdk.config.lookup import configured
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.text import for_terminal

__all__ = [
    "Finding",
    "doctor",
    "examine",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one target.

    Attributes:
        target: Its name; backend: its backend's.
        ok: Whether it can be used.
        state: What it said, or what is wrong; empty where that is said by ``configured``.
        remedy: What to do; empty where nothing need be done.
        configured: Whether somebody asked for it, in the file or in the environment.
    """

    target: str
    backend: str
    ok: bool
    state: str
    remedy: str = ""
    configured: bool = True


async def examine(
    config: str | Path | None = None, environ: Mapping[str, str] | None = None
) -> list[Finding]:
    """Look at every target of the file, and at every backend that the environment configures.

    A backend that neither of them configures has a row too, which says how to. Each target that
    can be built is asked once whether it is there (no tokens are spent).
    """
    environ = os.environ if environ is None else environ
    asked = _asked(config, environ)
    return await asyncio.gather(*(_examine(*one, environ) for one in asked))


def _asked(config: str | Path | None, environ: Mapping[str, str]) -> list[tuple[Target, bool]]:
    """Whom to look at, and whether somebody configured it."""
    written = configured(config)
    used = {target.backend for target in written.values()}
    asked = [(target, True) for target in written.values()]
    for name in backends.known():
        found = _in_environment(name, environ)
        if name not in written and (found or name not in used):
            asked.append((Target(name, name), found))
    return asked


def _in_environment(name: str, environ: Mapping[str, str]) -> bool:
    """Whether the environment has a setting without which the backend cannot be built."""
    try:
        cls = backends.find(name)
    except Phi2Error:
        return False
    if any(environ.get(cls.environment.get(setting, ""), "").strip() for setting in cls.required):
        return True
    return _opens(name, environ) and not _opens(name, {})


def _opens(name: str, environ: Mapping[str, str]) -> bool:
    try:
        Target(name, name).open(environ=environ)
    except Phi2Error:
        return False
    return True


async def _examine(target: Target, configured: bool, environ: Mapping[str, str]) -> Finding:
    finding = partial(Finding, target.name, target.backend, configured=configured)
    try:
        backend = target.open(environ=environ)
    except Phi2Error as error:
        if configured:
            return finding(False, "it cannot be opened", error.message)
        return finding(False, "", _how_to_configure(target.backend) or error.message)
    try:
        said = await backend.check()
        return finding(True, said)
    except ConfigurationError as error:
        state, _, remedy = error.message.partition(": ")
        return finding(False, state, remedy)
    except Phi2Error as error:
        remedy = _REMEDY.get(type(error).__name__, "look at the endpoint's own log or status page")
        return finding(False, str(error), remedy)
    finally:
        with suppress(Phi2Error):
            await backend.close()


def _how_to_configure(name: str) -> str:
    """Empty where no setting is missing but, say, a package."""
    try:
        cls = backends.find(name)
    except Phi2Error:
        return ""
    needed = [cls.environment[setting] for setting in cls.required if setting in cls.environment]
    variables = needed or list(cls.environment.values())[:1]
    if not variables or name == "local":
        return ""
    return f'set {" and ".join(variables)}, or write a target with backend = "{name}" in phi2.toml'


_REMEDY = {
    "AuthenticationFailed": "give a key that the provider accepts",
    "PermissionDenied": "ask for the permission, or use another account",
    "ModelNotFound": "check the model's name and the endpoint's path",
    "ConnectionFailed": "check the endpoint's host and port, and that it is up",
    "Timeout": "check that the endpoint is up, or give it more time",
    "ModelLoading": "wait until it has loaded",
}


def doctor(
    config: Config = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say which targets are configured, installed and reachable, and what to do about the rest.

    Exit status:

    - 0: every target that phi2.toml or the environment configures is ready, or there is none

    - 2: phi2.toml is wrong

    - 3: a configured target is not ready

    - 130: interrupted
    """
    ask_first(list(configured(config)), config)
    findings = asyncio.run(examine(config))
    if json:
        print_json(findings)
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("target", "backend", "state", "what to do"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            table.add_row(*(Text(for_terminal(cell)) for cell in _cells(finding)))
        Console().print(table)
    if any(finding.configured and not finding.ok for finding in findings):
        raise typer.Exit(FAILED)


def _cells(finding: Finding) -> tuple[str, str, str, str]:
    state = "ready" if finding.ok else "not ready" if finding.configured else "not configured"
    said = f"{state}: {finding.state}" if finding.state else state
    return finding.target, finding.backend, said, finding.remedy
