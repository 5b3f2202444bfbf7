"""What the shell offers after Tab: the targets of ``phi2.toml``, and the prompt formats."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from phi2sdk import backends
from phi2sdk.config import DEFAULT_CONFIG, load_config
from phi2sdk.errors import ConfigurationError
from phi2sdk.prompts import FORMATS

__all__ = ["complete_formats", "complete_targets"]


def complete_targets(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Targets of the configuration that the line names, and the backends, with what they are.

    A configuration that cannot be read offers nothing: Tab is no place for a complaint.
    """
    try:
        configured = load_config(ctx.params.get("config") or DEFAULT_CONFIG)
    except ConfigurationError:
        configured = {}
    for name, target in configured.items():
        if name.startswith(incomplete):
            yield name, f"{target.backend}, of {ctx.params.get('config') or DEFAULT_CONFIG}"
    for name in backends.known():
        if name.startswith(incomplete) and name not in configured:
            yield name, "backend"


def complete_formats(incomplete: str) -> list[str]:
    """Prompt formats."""
    return [name for name in FORMATS if name.startswith(incomplete)]
