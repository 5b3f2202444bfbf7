"""Which targets are configured, installed and reachable, and what to do about the rest."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from phi2sdk import backends
from phi2sdk.config import DEFAULT_CONFIG, Target, load_config
from phi2sdk.errors import Phi2Error

__all__ = ["Finding", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one target.

    Attributes:
        target: Its name; backend: its backend's.
        ok: Whether it can be used.
        state: What it said, or what is wrong.
        remedy: What to do; empty where nothing need be done.
    """

    target: str
    backend: str
    ok: bool
    state: str
    remedy: str = ""


async def examine(
    config: str | Path | None = None, environ: Mapping[str, str] | None = None
) -> list[Finding]:
    """Look at every target of the configuration, and at every backend that has none.

    Each target that can be built is asked once whether it is there (no tokens are spent).
    """
    environ = os.environ if environ is None else environ
    targets = _targets(config, environ)
    return await asyncio.gather(*(_examine(target, environ) for target in targets))


def _targets(config: str | Path | None, environ: Mapping[str, str]) -> list[Target]:
    configured: list[Target] = []
    if config is not None or Path(DEFAULT_CONFIG).is_file():
        configured = list(load_config(config or DEFAULT_CONFIG).values())
    used = {target.backend for target in configured}
    return configured + [Target(name, name) for name in backends.known() if name not in used]


async def _examine(target: Target, environ: Mapping[str, str]) -> Finding:
    try:
        backend = target.open(environ=environ)
    except Phi2Error as error:
        state, _, remedy = error.message.partition(": ")
        return Finding(target.name, target.backend, False, state, remedy or state)
    try:
        said = await backend.check()
        return Finding(target.name, target.backend, True, said)
    except Phi2Error as error:
        return Finding(
            target.name,
            target.backend,
            False,
            str(error),
            _REMEDY.get(type(error).__name__, "look at the endpoint's own log or status page"),
        )
    finally:
        with suppress(Phi2Error):
            await backend.close()


_REMEDY = {
    "AuthenticationFailed": "give a key that the provider accepts",
    "PermissionDenied": "ask for the permission, or use another account",
    "ModelNotFound": "check the model's name and the endpoint's path",
    "ConnectionFailed": "check the endpoint's host and port, and that it is up",
    "Timeout": "check that the endpoint is up, or give it more time",
    "ModelLoading": "wait until it has loaded",
}
