"""Validate ``run.json`` and ``identity.json``, and check that the records belong to the run.

A folder may come from another person, or from a damaged disk. Everything that reports and
comparisons of runs use is checked here, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from phi2sdk.measure.events import Flag, Natural, Seconds
from phi2sdk.measure.records import Key
from phi2sdk.parsing import first_mistake
from phi2sdk.pricing.price import Price

SCHEMA = "phi2sdk.run/1"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
_Positive = Annotated[Natural, Field(ge=1)]


def _time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Load(_Part):
    kind: Literal["sequential", "closed", "poisson"]
    concurrency: _Positive
    rate: Seconds | None


class _Target(_Part):
    backend: str
    settings: dict[str, Any]
    price: Price | None
    simulated: Flag


class _Identity(_Part):
    calls: Natural
    prompts: dict[str, str] | None
    format: str


class _Configuration(_Part):
    demo: Flag
    task: Literal["summarize", "prompt"]
    format: str
    template: str | None = None
    input: str
    prompts: dict[str, str]
    references: dict[str, str] = {}
    targets: dict[Name, _Target]
    reference: str | None
    load: _Load
    repetitions: Natural | None
    duration: Seconds | None = None
    unique_prefix: Flag = False
    warmup: Natural
    seed: Annotated[int, Field(strict=True)]
    max_tokens: Natural
    timeout: Annotated[Seconds, Field(gt=0)]
    tokenizer: str
    identity: _Identity | None = None
    logprobs: Natural = 0

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.reference is not None and self.reference not in self.targets:
            raise ValueError("the reference is none of the targets")
        if self.repetitions is None and self.duration is None:
            raise ValueError("it has neither repetitions nor a duration")
        return self


class _Versions(_Part):
    phi2sdk: str
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str]


class RunOptions(_Part):
    """The options of ``phi2 compare`` that are not part of the configuration.

    They say how to evaluate the run, how much it may cost, and which files to use.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    config: str | None = None
    tokenizer: str | None = None
    sweep: str | None = None
    volume: float | None = None
    baseline: str | None = None
    budget_usd: float | None = None
    tokenizer_ratio: float = 1.0
    identity_model: str | None = None
    honest: str | None = None
    suspect: list[str] | None = None
    quality_model: str | None = None
    slo: str | None = None
    require: list[str] | None = None
    margin: str = "5%"


class _Run(_Part):
    schema_: Literal["phi2sdk.run/1"] = Field(alias="schema")
    configuration_hash: str
    started: Annotated[str, AfterValidator(_time)]
    versions: _Versions
    machine: dict[str, str | Flag | Natural | Seconds | None]
    nonce: str = ""
    configuration: _Configuration
    options: RunOptions = RunOptions()


class _Calibration(_Part):
    calls: Natural
    tokens: Natural
    entropy: Annotated[float, Field(strict=True)]
    candidates: dict[str, Annotated[float, Field(strict=True)]]


class _Examined(_Part):
    records: Natural | None = None
    told: Natural | None = None
    unavailable: str | None = None
    targets: dict[str, dict[str, Any]] = {}
    calibration: _Calibration | None = None
    regret: dict[str, dict[str, Any]] = {}


def check_run(document: object) -> dict[str, Any]:
    """``run.json`` as runs write it.

    Raises:
        ValueError: It is not. The message says why, on one line.
    """
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"it is no {SCHEMA}")
    return _checked(_Run, document)


def check_identity(document: object) -> dict[str, Any]:
    """``identity.json`` as runs write it; its figures are checked where they are reported.

    Raises:
        ValueError: It is not. The message says why, on one line.
    """
    return _checked(_Examined, document)


def _checked(kind: type[BaseModel], document: Any) -> dict[str, Any]:
    try:
        kind.model_validate(document)
    except ValidationError as error:
        raise ValueError(first_mistake(error)) from None
    found: dict[str, Any] = document
    return found


def check_keys(configuration: Mapping[str, Any], keys: Iterable[Key]) -> None:
    """Check that each request has a target and a prompt of the run.

    Raises:
        ValueError: A request does not. The message names it.
    """
    arm = configuration.get("identity") or {}
    asked = configuration["prompts"]
    sampled = (arm.get("prompts") or asked) if arm else {}
    for key in keys:
        if key.target not in configuration["targets"]:
            raise ValueError(f"target {key.target[:40]!r} is none of the run's")
        if key.prompt not in (sampled if key.arm == "sampled" else asked):
            raise ValueError(f"prompt {key.prompt[:40]!r} is none of the run's")
