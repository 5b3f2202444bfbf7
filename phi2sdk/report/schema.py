"""``report.json``: every field with its meaning and unit. New fields keep the version.

Times are seconds, money is US dollars, rates are in [0, 1]. ``null`` means that there is no such
number; it never stands for zero.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from phi2sdk.report.schema_agreement import AgreementReport, DiagnosisReport
from phi2sdk.report.schema_base import Interval, Name
from phi2sdk.report.schema_identity import IdentityCalibrationReport, IdentityReport
from phi2sdk.report.schema_money import (
    BaselineReport,
    BreakEvenReport,
    CurveReport,
    DecisionReport,
    VolumeReport,
)
from phi2sdk.report.schema_quality import QualityReport

__all__ = [
    "SCHEMA",
    "AgreementReport",
    "CalibrationReport",
    "CostReport",
    "ErrorsReport",
    "GoodputReport",
    "HarnessError",
    "Interval",
    "LatencyRatioReport",
    "LatencyReport",
    "LatencySummary",
    "PairReport",
    "QuantileReport",
    "RatioReport",
    "Report",
    "RequirementReport",
    "RunReport",
    "TargetReport",
    "TokensReport",
    "ValidityReport",
    "json_schema",
    "published_schema",
]

SCHEMA = "phi2sdk.report/1"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class QuantileReport(_Model):
    """An order statistic of all requests, failures ranked last.

    ``value`` null: so many failed that it is only known to be above ``censored_above``. ``low``
    and ``high`` null: too few prompts for a 95 % interval. ``high`` alone null: no upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    censored_above: float | None = None


class LatencySummary(_Model):
    """One latency in seconds: ``n`` values, of which ``censored`` never came."""

    n: int
    censored: int = 0
    p50: QuantileReport
    p90: QuantileReport
    p95: QuantileReport
    p99: QuantileReport


class LatencyReport(_Model):
    """Null where the target has no such latency: nothing was streamed."""

    ttft: LatencySummary | None = None
    e2e: LatencySummary | None = None
    response: LatencySummary | None = None
    tpot: LatencySummary | None = None
    icl: LatencySummary | None = None


class ThroughputReport(_Model):
    """``tokens_per_second`` over ``seconds``; ``basis`` says which seconds those are."""

    tokens_per_second: float | None
    seconds: float
    basis: Literal["window", "busy"]
    tokens_per_chunk: float | None = None
    longest_stall: float | None = None


class TokensReport(_Model):
    """Tokens of all requests: as billed, as kept, as the reference tokenizer counts.

    ``difference`` is (billed - counted) / counted over requests that have both, where the whole
    answer was received.
    """

    input: int | None
    output_billed: int | None
    output_kept: int | None
    cached: int | None = None
    estimated: bool
    tokenizer: str
    difference: float | None = None


class CostReport(_Model):
    """US dollars per acceptable answer; failures, retries and the warm-up are paid for too.

    ``token_priced``: tokens and calls alone. ``busy``: machine time for the seconds used only.
    ``reserved``: idle time included. ``unknown`` says why one of them is null. ``stale``: the
    price was more than 180 days old when the run began.
    """

    per_summary: Interval
    token_priced: Interval | None = None
    busy: Interval | None = None
    reserved: Interval | None = None
    unknown: dict[str, str] = {}
    warmup_usd: float = 0.0
    stale: bool = False
    model: str
    source: str
    date: str
    estimated: bool
    simulated: bool = False


class ErrorsReport(_Model):
    """All requests by outcome. ``kinds`` counts errors by class; ``examples`` has one of each."""

    attempted: int
    ok: int
    empty: int
    filtered: int
    timeout: int
    error: int
    retries: int
    waited: float
    kinds: dict[str, int] = {}
    examples: dict[str, str] = {}


class WarmupReport(_Model):
    """Requests before the run, apart from all statistics; ``first`` is the very first one."""

    n: int
    failed: int
    first: float | None = None
    median: float | None = None


class GoodputReport(_Model):
    """Requests that met every service level: per second, and as a fraction of all attempted."""

    slo: dict[str, float]
    good: int
    attempted: int
    fraction: Interval
    per_second: float | None


class HarnessError(_Model):
    """The harness' own error of a latency in seconds, as its calibration found it."""

    p50: float
    p99: float


class CalibrationReport(_Model):
    """The harness' own error on one wire, with ``streams`` requests under way."""

    streams: int
    n: int
    ttft: HarnessError
    e2e: HarnessError


class TargetReport(_Model):
    """All about one target. ``wire`` names its calibration, null where there is none."""

    backend: str
    route: str | None = None
    model: str | None = None
    reference: bool = False
    streams: bool
    wrapped: bool = False
    simulated: bool = False
    wire: str | None = None
    latency: LatencyReport
    throughput: ThroughputReport
    goodput: GoodputReport | None = None
    tokens: TokensReport
    cost: CostReport | None
    cost_unknown: str | None = None
    errors: ErrorsReport
    warmup: WarmupReport | None = None
    self_agreement: AgreementReport | None = None
    diagnosis: DiagnosisReport | None = None
    quality: QualityReport | None = None


class RatioReport(_Model):
    """A latency of b over that of a, prompt by prompt: below 1, b is faster.

    ``p`` is adjusted for all pairs (Holm), as is ``p_equivalent``, that of a difference as large
    as the margin or larger. ``prompts_needed``: about how many would settle an open verdict.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    pairs: int
    left_out: int
    p: float | None = None
    p_equivalent: float | None = None
    verdict: Literal["faster", "slower", "equivalent", "not resolvable", "not shown"]
    prompts_needed: int | None = None
    sentence: str


class LatencyRatioReport(_Model):
    """By latency; null where one of the two has no such latency."""

    e2e: RatioReport | None = None
    ttft: RatioReport | None = None


class PairReport(_Model):
    """Target b against target a, of the pair ``a:b``.

    ``divergence_p``: that both part from the reference's answers equally late (log-rank), adjusted
    for all pairs of targets that are not the reference.
    """

    latency_ratio: LatencyRatioReport = LatencyRatioReport()
    cost_ratio: Interval | None = None
    agreement: AgreementReport | None = None
    divergence_p: float | None = None
    simulated: bool = False


class LagReport(_Model):
    """A lag in seconds; null where nothing was recorded."""

    p50: float | None
    p99: float | None
    max: float | None


class ValidityReport(_Model):
    """Whether the numbers can be believed: ``sentence`` is the first line of every report."""

    valid: bool
    sentence: str
    reasons: tuple[str, ...] = ()
    schedule_lag: LagReport
    loop_lag: LagReport
    cpu_share: float | None = None
    calibration: dict[str, CalibrationReport] = {}


class RequirementReport(_Model):
    """One ``--require``: only ``holds`` passes; ``not shown`` says that the data do not decide."""

    requirement: str
    holds: bool
    outcome: Literal["holds", "fails", "not shown"]
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class RunReport(_Model):
    """What was measured, when and where.

    ``duration``: it was to last so many seconds; ``repetitions`` is then how often a prompt was
    asked at most. ``seconds`` were measured, over all sessions. ``unique_prefix``: each
    repetition's prompt began with a line of its own. ``identity``: so many answers of each target
    were sampled besides; they count in ``requests``, ``recorded`` and ``lost``.
    """

    configuration_hash: str
    phi2sdk: str
    started: str
    machine: dict[str, str | int | float | None]
    versions: dict[str, str]
    demo: bool = False
    task: Literal["summarize", "prompt"]
    format: str
    template: str | None = None
    input: str
    prompts: int
    repetitions: int
    duration: float | None = None
    seconds: float = 0.0
    unique_prefix: bool = False
    identity: int = 0
    warmup: int
    seed: int
    load: Literal["sequential", "closed", "poisson"]
    concurrency: int
    rate: float | None = None
    max_tokens: int
    timeout: float
    reference: Name | None
    tokenizer: str
    tokenizer_estimated: bool
    requests: int
    recorded: int
    lost: int
    sessions: int
    complete: bool
    margin: float


class Report(_Model):
    """The whole report of a run."""

    schema_: Literal["phi2sdk.report/1"] = Field(default="phi2sdk.report/1", alias="schema")
    run: RunReport
    validity: ValidityReport
    targets: dict[Name, TargetReport]
    pairs: dict[str, PairReport] = {}
    break_even: dict[str, BreakEvenReport] = {}
    volume: VolumeReport | None = None
    cost_curve: CurveReport | None = None
    baseline: BaselineReport | None = None
    requirements: tuple[RequirementReport, ...] = ()
    decision: DecisionReport | None = None
    identity: dict[Name, IdentityReport] = {}
    identity_calibration: IdentityCalibrationReport | None = None

    @property
    def failed(self) -> int:
        """Requests without an answer, over all targets; sampled ones may end at once."""
        greedy = sum(t.errors.attempted - t.errors.ok for t in self.targets.values())
        sampled = (one.left_out for one in self.identity.values())
        return greedy + sum(n.get("failed", 0) + n.get("filtered", 0) for n in sampled)

    def to_json(self) -> str:
        """The document as ``report.json`` holds it."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from phi2sdk.rich_display import report_html

        return report_html(self)


def json_schema() -> str:
    """The JSON Schema of ``report.json``, generated from the models above."""
    schema: dict[str, Any] = Report.model_json_schema(by_alias=True, mode="serialization")
    schema["$id"] = "urn:phi2sdk:report:1"
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def published_schema() -> str:
    """The JSON Schema that comes with the package."""
    return files("phi2sdk.report").joinpath("report.schema.json").read_text(encoding="utf-8")
