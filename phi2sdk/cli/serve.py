"""The command line of ``phi2 serve``, a gateway for clients of the OpenAI protocol."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phi2sdk.cli.errors import FAILED, leaving_at_once
from phi2sdk.cli.options import FLAG, complete_targets, panel
from phi2sdk.cli.output import console, log_to
from phi2sdk.cli.trust import ask_first
from phi2sdk.config.lookup import DEFAULT_CONFIG
from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import Secret

if TYPE_CHECKING:
    from phi2sdk.config.file import ServeTable
    from phi2sdk.serve import ServeOptions

__all__ = ["serve"]

KEY_VARIABLE = "PHI2_SERVE_KEY"

_models, _server, _limits, _output = (
    panel("Models"),
    panel("Server"),
    panel("Limits"),
    panel("Output"),
)


def serve(
    target: Annotated[
        list[str] | None,
        _models(
            "--target",
            "-t",
            metavar="NAME",
            help="Target of phi2.toml, or a backend, to serve as a model of this name; repeatable "
            "(default: all targets of phi2.toml).",
            autocompletion=complete_targets,
        ),
    ] = None,
    route: Annotated[
        list[str] | None,
        _models(
            metavar="NAME=TARGET,TARGET",
            help="Further model: a name, and the targets to try in this order; repeatable.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        _models(
            "--config",
            metavar="FILE",
            help="Configuration file (default: phi2.toml). Its table serve has the same options.",
            dir_okay=False,
        ),
    ] = None,
    host: Annotated[
        str | None, _server(metavar="HOST", help="Address to listen on (default: 127.0.0.1).")
    ] = None,
    port: Annotated[
        int | None,
        _server(metavar="PORT", help="Port to listen on; 0 takes a free port (default: 8080)."),
    ] = None,
    api_key_env: Annotated[
        str | None,
        _server(
            metavar="VARIABLE",
            help="Environment variable with the key that clients must send "
            f"(default: {KEY_VARIABLE}, if it is set). A --host other than loopback needs a key.",
        ),
    ] = None,
    budget_usd: Annotated[
        float | None,
        _limits(
            metavar="USD",
            help="Maximum cost of all requests until the gateway ends (default: no limit). Every "
            "target then needs a price.",
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        _limits(metavar="N", help="Maximum number of requests in progress (default: 64)."),
    ] = None,
    queue: Annotated[
        int | None,
        _limits(
            metavar="N",
            help="Maximum number of waiting requests; others get status 429 (default: 256).",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        _limits(metavar="R", help="Maximum number of requests per second (default: no limit)."),
    ] = None,
    timeout: Annotated[
        float | None,
        _limits(
            metavar="SECONDS",
            help="Time limit of a request, with the time in the queue (default: 600).",
        ),
    ] = None,
    verbose: Annotated[
        bool,
        _output(
            "--verbose", "-v", metavar=FLAG, help="Print each request and retry on standard error."
        ),
    ] = False,
) -> None:
    """Serve targets to clients of the OpenAI protocol.

    Every OpenAI client can use the URL that the command prints. The model of a
    request is the name of a target, or of a route: targets that are tried in order.
    After Ctrl-C or SIGTERM, the gateway accepts no new requests, and waits at most
    30 seconds for those that run. A second signal ends it immediately.

    Exit status:
      0    The gateway was stopped, also by Ctrl-C, and running requests ended.
      2    The usage or the configuration is wrong, or the port is taken.
      3    A local model cannot be loaded, or running requests were aborted.
      130  Interrupted by a second signal.
    """
    if verbose:
        log_to(console(stderr=True))
    with leaving_at_once():
        from phi2sdk.config.file import ServeTable, read
        from phi2sdk.serve.run import run

    found = config or (Path(DEFAULT_CONFIG) if Path(DEFAULT_CONFIG).is_file() else None)
    options = _options(
        read(found).serve if found is not None else ServeTable(),
        {
            "targets": tuple(target or ()),
            "routes": dict(map(_route, route or ())),
            "host": host,
            "port": port,
            "budget_usd": budget_usd,
            "concurrency": concurrency,
            "queue": queue,
            "rate": rate,
            "timeout": timeout,
        },
        api_key_env,
        config,
    )
    ask_first([*options.targets, *(one for r in options.routes.values() for one in r)], config)
    if not asyncio.run(run(options, say=lambda line: typer.echo(line, err=True))):
        typer.echo("running requests were aborted, because they did not end in time", err=True)
        raise typer.Exit(FAILED)


def _options(
    table: ServeTable, given: dict[str, Any], api_key_env: str | None, config: Path | None
) -> ServeOptions:
    """Return the options of the command line, over those of the table ``[serve]``."""
    from phi2sdk.serve import ServeOptions

    written = table.model_dump(exclude={"api_key"}, exclude_none=True)
    options = written | {name: one for name, one in given.items() if one not in (None, (), {})}
    options["targets"] = tuple(options["targets"])
    options["routes"] = {name: tuple(targets) for name, targets in options["routes"].items()}
    variable = api_key_env or (table.api_key.env if table.api_key is not None else None)
    key = os.environ.get(variable or KEY_VARIABLE, "").strip()
    if variable is not None and not key:
        raise ConfigurationError(
            f"the environment variable {variable} is not set. Set it to the key that clients must "
            "send"
        )
    return ServeOptions(**options, api_key=Secret(key) if key else None, config=config)


def _route(text: str) -> tuple[str, tuple[str, ...]]:
    name, equals, targets = text.partition("=")
    if not equals:
        raise ConfigurationError(
            f"the route {text!r} is not NAME=TARGET,TARGET. Write it as in --route safe=azure,local"
        )
    return name.strip(), tuple(one.strip() for one in targets.split(",") if one.strip())
