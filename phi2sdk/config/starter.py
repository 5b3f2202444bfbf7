"""Write a first ``phi2.toml`` from the environment, for ``phi2 init``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - a field is called `date`

from phi2sdk import backends
from phi2sdk.backends.base import Backend
from phi2sdk.config.lookup import in_environment
from phi2sdk.errors import Phi2Error
from phi2sdk.text import untrusted

_HEADER = """\
# Configuration of phi2sdk, written by phi2 init on {date}.
#
# Each [targets.NAME] table is a target: phi2 generate --target NAME. Tables and settings that begin
# with # are not in use; remove the # to use them.
#
# Do not write secrets into this file: {{ env = "NAME" }} names the environment variable with the
# value. The cost of a target is unknown until it has a price; phi2 prices lists the known prices.
#
# Next step: phi2 doctor checks every target.
"""

_ABOUT = {
    "local": "Phi-2 on this machine",
    "azure": "Azure managed online endpoint, or Foundry",
    "clarifai": "Clarifai",
    "hf": "Hugging Face Inference Endpoint",
    "openai": "Server with the OpenAI protocol, on this machine or elsewhere",
}

_NOTES = {
    "local": "phi2 memory shows how much memory each precision needs.",
    "openai": "Usual addresses on this machine: vLLM http://127.0.0.1:8000/v1, llama.cpp\n"
    "http://127.0.0.1:8080/v1, Ollama http://127.0.0.1:11434/v1, SGLang http://127.0.0.1:30000/v1.",
}

_OPTIONAL = {
    "local": ('dtype = "auto"', 'price = { model = "owned", device = "A100-80" }'),
    "azure": ('style = "score"', 'price = { book = "azure/Standard_NC24ads_A100_v4" }'),
    "clarifai": (
        'price = { model = "per-token", input = 0.10, output = 0.10, source = "my contract", '
        'date = "2026-11-01" }',
    ),
    "hf": ('route = "tgi"', 'price = { book = "hf/aws-t4" }'),
    "openai": ('route = "completions"', 'price = { model = "owned", device = "A100-80" }'),
}
"""Settings that are written as comments; the prices are examples."""


@dataclass(frozen=True, slots=True)
class Starter:
    """A first configuration.

    Attributes:
        text: The content of the file.
        targets: The targets that are in use.
        missing: The backends that are not in use, each with the reason or what to do.
    """

    text: str
    targets: tuple[str, ...]
    missing: Mapping[str, str]


def starter(environ: Mapping[str, str], *, device: str, local: str | None, today: Date) -> Starter:
    """Return a configuration with a target for each backend that the environment configures.

    The other backends are comments. No value of a variable is written, only names of variables.

    Args:
        environ: The environment.
        device: The processor of this machine, with its free memory.
        local: Why the local model cannot be used now; ``None`` if it can be used.
        today: The date in the header.
    """
    parts, targets, missing = [_HEADER.format(date=today.isoformat())], [], {}
    for name in backends.known():
        found = local is None if name == "local" else in_environment(name, environ)
        if found:
            targets.append(name)
        elif name in _ABOUT:
            missing[name] = (
                f"{untrusted(local or '').rstrip('.')}." if name == "local" else _to_configure(name)
            )
        else:
            continue
        about = _ABOUT.get(name, f"Backend {name}")
        if name == "local":
            about += f" ({untrusted(device)})"
        comments = [about, *_NOTES.get(name, "").splitlines()]
        if not found:
            comments.append(f"Not in use: {missing[name]}")
        table = "".join(_table(name, environ, in_use=found))
        parts.append("".join(f"# {line}\n" for line in comments) + table)
    return Starter("\n".join(parts), tuple(targets), missing)


def _table(name: str, environ: Mapping[str, str], *, in_use: bool) -> Iterator[str]:
    mark = "" if in_use else "# "
    yield f"{mark}[targets.{name}]\n"
    yield f'{mark}backend = "{name}"\n'
    for setting, variable in _settings(name).items():
        given = bool(environ.get(variable, "").strip())
        if given or _shown(backends.find(name), setting):
            yield f'{mark if given else "# "}{setting} = {{ env = "{variable}" }}\n'
    for line in _OPTIONAL.get(name, ()):
        yield f"# {line}\n"


def _settings(name: str) -> Mapping[str, str]:
    """Return the variables of a backend by setting; none if a package of it is missing."""
    try:
        return backends.find(name).environment
    except Phi2Error:
        return {}


def _shown(cls: type[Backend], setting: str) -> bool:
    """Return whether a setting is written even if its variable is not set."""
    default = inspect.signature(cls).parameters[setting].default
    needed = setting in cls.required or (setting == cls.address and default is None)
    return needed or backends.is_secret(cls, setting)


def _to_configure(name: str) -> str:
    """Return what to do to use a backend."""
    try:
        cls = backends.find(name)
    except Phi2Error as error:
        return f"{error.message}."
    shown = {
        setting: variable for setting, variable in cls.environment.items() if _shown(cls, setting)
    }
    keys = [v for s, v in shown.items() if s not in cls.required and backends.is_secret(cls, s)]
    needed = [variable for variable in shown.values() if variable not in keys]
    key = f", and {' and '.join(keys)} if the endpoint needs a key" if keys else ""
    return f"set {' and '.join(needed)}{key}."
