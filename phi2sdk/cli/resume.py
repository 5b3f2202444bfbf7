"""``phi2 compare --resume``: continue a run with what its folder says, and nothing typed again.

The prompts and settings come from the configuration in ``run.json``; the other options come from
its ``options``. Targets are opened by their names, from the user's own configuration and
environment: what ``run.json`` says about a target is compared, and never used to send a secret.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from phi2sdk.cli.compare_options import CompareOptions
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import RUN, RunFolder
from phi2sdk.measure.run_document import RunOptions

_PATHS = frozenset({"config", "tokenizer", "quality_model"})


def kept(options: CompareOptions) -> dict[str, Any]:
    """Return the options that ``run.json`` keeps beside the configuration."""
    found = {name: getattr(options, name) for name in RunOptions.model_fields}
    return {name: str(v) if isinstance(v, Path) else v for name, v in found.items()}


def first_run(folder: Path) -> RunFolder:
    """Return the run in a folder, or the first run of the sweep in it."""
    runs = [] if (folder / RUN).exists() else sorted(folder.glob(f"rate-*/{RUN}"))
    return RunFolder(runs[0].parent if runs else folder)


def resumed(
    options: CompareOptions, given: Collection[str], info: Mapping[str, Any]
) -> CompareOptions:
    """Return the options of a run, with those that are given in addition.

    Args:
        options: As the command line has them.
        given: The names of those that stand on the command line.
        info: ``run.json``.

    Raises:
        ConfigurationError: A given option contradicts the run.
    """
    recorded = _recorded(info)
    for name in given:
        if name in recorded and (asked := getattr(options, name)) != (was := recorded[name]):
            if name == "target" and sorted(asked) == sorted(was):
                continue
            raise ConfigurationError(
                f"{_typed(name, asked)} contradicts the run in {options.output}, which was made "
                f"{_made(name, was)}. Leave out the option to continue that run, or choose another "
                "--output for a new run"
            )
    others = RunOptions.model_validate(info.get("options") or {}).model_dump()
    taken = {name: value for name, value in (others | recorded).items() if name not in given}
    paths = {name: Path(taken[name]) for name in _PATHS & set(taken) if taken[name] is not None}
    return replace(options, **{**taken, **paths})


def resume_command(
    program: str, options: CompareOptions, info: Mapping[str, Any], *, budget_usd: float | None
) -> str:
    """Return the command that continues a run.

    Args:
        program: The command as it was called, such as ``phi2 compare``.
        options: Of this session.
        info: ``run.json``. An option that it has with the same value is not repeated.
        budget_usd: The budget of the next session; ``None`` for the same or none.
    """
    before = RunOptions.model_validate(info.get("options") or {}).model_dump()
    now = kept(options) | ({} if budget_usd is None else {"budget_usd": budget_usd})
    words = [program, "--resume", f"--output {shlex.quote(str(options.output))}"]
    words += [_typed(name, value) for name, value in now.items() if value != before[name]]
    words += ["--yes"] * (options.yes and options.budget_usd is not None)
    return " ".join(words)


def _recorded(info: Mapping[str, Any]) -> dict[str, Any]:
    """The options that cannot change within a run, as its configuration has them."""
    configuration, options = info["configuration"], info.get("options") or {}
    load, swept = configuration["load"], options.get("sweep")
    return {
        **{name: configuration[name] for name in ("task", "demo", "reference")},
        **{name: configuration[name] for name in ("warmup", "seed", "max_tokens", "timeout")},
        # Of the task summarize it is the identity prompts' own, which are compared by their text.
        **({"format": configuration["format"]} if configuration["task"] == "prompt" else {}),
        "target": list(configuration["targets"]),
        "load": None if swept else load["kind"],
        "concurrency": load["concurrency"],
        "rate": None if swept else load["rate"],
        "sweep": swept,
        "repeat": configuration["repetitions"],
        "duration": configuration.get("duration"),
        "unique_prefix": configuration.get("unique_prefix", False),
        "identity": (configuration.get("identity") or {}).get("calls", 0),
        "logprobs": configuration.get("logprobs", 0),
    }


def _typed(name: str, value: object) -> str:
    """An option as it is typed."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return option
    values = value if isinstance(value, list) else [value]
    return " ".join(f"{option} {shlex.quote(_number(one))}" for one in values)


def _made(name: str, value: object) -> str:
    if value is None or value is False:
        return f"without --{name.replace('_', '-')}"
    return f"with {_typed(name, value)}"


def _number(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)
