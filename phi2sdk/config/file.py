"""Read and validate ``phi2.toml``, and create its targets.

This module is separate from :mod:`phi2sdk.config.target`, so that only programs with a file load
pydantic.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from phi2sdk import backends
from phi2sdk.config.environment import FromEnvironment
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError
from phi2sdk.parsing import parse_toml
from phi2sdk.pricing import price as pricing
from phi2sdk.pricing.book import Entries, PriceBook, price_book
from phi2sdk.transport.redaction import Redactor

_SECRET = re.compile(r"(^|_)(key|pat|token|secret|password)$")


class _TargetTable(BaseModel):
    """A ``[targets.NAME]`` table; other keys are settings of the backend."""

    model_config = ConfigDict(extra="allow")

    backend: str
    price: pricing.PriceTable | None = None
    timeout: float | None = Field(default=None, gt=0)
    attempts: int | None = Field(default=None, ge=1)


class _Variable(BaseModel):
    model_config = ConfigDict(extra="forbid")

    env: str


class ServeTable(BaseModel):
    """The ``[serve]`` table: options of ``phi2 serve``; ``None`` where the file has none."""

    model_config = ConfigDict(extra="forbid", strict=True)

    targets: list[str] = Field(default_factory=list)
    routes: dict[str, list[str]] = Field(default_factory=dict)
    host: str | None = None
    port: int | None = None
    api_key: _Variable | None = None
    budget_usd: float | None = None
    concurrency: int | None = None
    queue: int | None = None
    rate: float | None = None
    timeout: float | None = None


class _File(Entries):
    targets: dict[str, _TargetTable] = Field(default_factory=dict)
    serve: ServeTable = Field(default_factory=ServeTable)


def targets(path: str | Path) -> dict[str, Target]:
    """Return the targets of a file, by name; see :func:`phi2sdk.config.load_config`."""
    with Redactor().boundary():  # the parser quotes the file in its exceptions
        file = _read(path)
        book = price_book().with_entries(file)
        return {n: _target(n, table, path, book) for n, table in file.targets.items()}


def read(path: str | Path) -> _File:
    """Return the tables of a file.

    Raises:
        ConfigurationError: The file is missing, is not TOML, or has a wrong table.
    """
    with Redactor().boundary():
        return _read(path)


def _read(path: str | Path) -> _File:
    try:
        document = parse_toml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}). Make it readable, or name another file "
            "with --config"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8. Save it as UTF-8") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    try:
        return _File.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ConfigurationError(f"{path}: {_what_to_write(first)}") from None


def _what_to_write(problem: ErrorDetails) -> str:
    where, last = ".".join(map(str, problem["loc"])), str(problem["loc"][-1])
    match problem["type"], problem["loc"]:
        case "extra_forbidden", (table,):
            return (
                f"there is no table {table}: write [targets.NAME], [serve], [[prices]], "
                "[[devices]] or [[assumptions]]"
            )
        case "extra_forbidden", _:
            return f"{where}: there is no such entry: remove it, or correct its name"
        case "missing", ("targets", name, "backend"):
            return (
                f"[targets.{name}] names no backend: write backend = "
                f"{' or '.join(json.dumps(one) for one in backends.known())}"
            )
        case "missing", _:
            return f"{where} is missing: write {last} = ..."
        case (("model_type" | "dict_type"), ("targets", *_)):
            return f"{where} is not a table: write [targets.NAME], and its settings below it"
        case _:
            return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _target(name: str, table: _TargetTable, path: str | Path, book: PriceBook) -> Target:
    settings: dict[str, Any] = {}
    for key, value in (table.model_extra or {}).items():
        where = f"{path}: targets.{name}.{key}"
        if isinstance(value, dict) and set(value) == {"env"}:
            secret = _SECRET.search(key) is not None
            settings[key] = FromEnvironment(str(value["env"]), where, secret)
        elif _SECRET.search(key):
            raise ConfigurationError(
                f"{where} contains a secret in plain text: set an environment variable, and write "
                f'{key} = {{ env = "NAME" }}'
            )
        else:
            settings[key] = tuple(value) if isinstance(value, list) else value
    try:
        price = pricing.resolve(table.price, book) if table.price is not None else None
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: targets.{name}: {error.message}") from None
    return Target(
        name, table.backend, settings, price, table.timeout, table.attempts, file=Path(path)
    )
