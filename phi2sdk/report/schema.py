"""The models of report.json; its JSON Schema is generated from them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from phi2sdk.analysis.diagnosis import Cause, Kind

__all__ = [
    "AgreementReport",
    "BaselineQuality",
    "BaselineReport",
    "BreakEvenReport",
    "CalibrationReport",
    "ChangeReport",
    "ChoiceReport",
    "ClaimReport",
    "CostReport",
    "CurveReport",
    "DecisionReport",
    "DiagnosisReport",
    "ErrorsReport",
    "EvidenceReport",
    "FindingReport",
    "GoodputReport",
    "HarnessError",
    "IdentityCalibrationReport",
    "IdentityReport",
    "Interval",
    "LatencyRatioReport",
    "LatencyReport",
    "LatencySummary",
    "LikenessReport",
    "LogprobsDifference",
    "LogprobsReport",
    "Name",
    "PairReport",
    "Part",
    "PrecisionReport",
    "QualityReport",
    "QuantileReport",
    "RatioReport",
    "RegretReport",
    "Report",
    "RequirementReport",
    "RunReport",
    "SCHEMA",
    "SensitivityReport",
    "TargetReport",
    "TemperatureReport",
    "TokensReport",
    "UnexplainedReport",
    "ValidityReport",
    "VolumeReport",
    "json_schema",
    "published_schema",
]

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Estimate(Protocol):
    """A value with the ends of its interval."""

    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


class Part(BaseModel):
    """Frozen, and nothing in it that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Interval(Part):
    """A value and its 95 % interval; an end is null where there is none."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, estimate: _Estimate | None) -> Interval | None:
        """An estimate as the report has it; ``None`` where there is no value."""
        if estimate is None or estimate.value is None:
            return None
        return cls(value=estimate.value, low=estimate.low, high=estimate.high)


class AgreementReport(Part):
    """How alike two targets' greedy answers are, over ``prompts`` with an answer from both.

    ``first_divergence``: the median number of tokens before answers part (Kaplan-Meier: equal
    answers are censored at their length), with its interval; null where most do not. ``parted``:
    how many prompts' answers do.
    """

    prompts: int
    missing: int
    exact_bytes: Interval | None = None
    exact_normalized: Interval | None = None
    exact_cut: Interval | None = None
    parted: int | None = None
    first_divergence: float | None = None
    first_divergence_low: float | None = None
    first_divergence_high: float | None = None
    prefix_fraction: Interval | None = None
    edit_similarity: Interval | None = None


class UnexplainedReport(Part):
    """The worst token that was no close call for the reference; the first token is 1."""

    prompt: str
    token: int
    regret: float


class RegretReport(Part):
    """How much likelier the local reference's own choice was than a target's tokens; nats.

    ``off`` of all ``tokens`` were not the likeliest (``rate``). ``at_divergence``: the median
    where answers part from the reference's. Up to ``tie`` the reference might have chosen
    otherwise: at least 0.01, and twice what its weights do to themselves in other precisions.
    """

    answers: int
    tokens: int
    off: int
    rate: float | None
    at_divergence: float | None
    maximum: float
    tie: float


class DiagnosisReport(Part):
    """Why a target's greedy answers differ from the reference's, on ``differ`` of ``prompts``.

    ``cause``: what most differences show; ``kinds``: how many prompts by kind of difference.
    ``varies``: prompts that the target did not answer the same way each time. ``cut_at``: tokens
    of its answers, where all were cut at one place. ``regret``: null without local weights.
    """

    cause: Cause
    sentence: str
    prompts: int
    differ: int
    kinds: dict[Kind, int]
    varies: int
    cut_at: int | None = None
    unexplained: UnexplainedReport | None = None
    regret: RegretReport | None = None


class EvidenceReport(Part):
    """One test: ``p`` is the largest over the honest precisions, unadjusted.

    ``statistic``: of ``score``, standard errors (above 0: the answers are more likely under the
    reference than its own are); of ``line-up`` and ``routing``, the logarithm of an e-value; of
    ``mmd``, the squared MMD.
    """

    p: float
    p_by_precision: dict[str, float]
    statistic: float
    sentence: str


class TemperatureReport(Part):
    """At which temperature the reference would have written the texts; 95 % interval.

    An end is null where it lies outside of what can be told, 0.4 to 2.5.
    """

    value: float
    low: float | None = None
    high: float | None = None


class LogprobsDifference(Part):
    """Log-probabilities of the same tokens beside those of the reference, nats.

    ``mean_difference`` and ``p99_difference``: of ``|log p - log p_ref|``. ``top1``: share of the
    tokens at which both find the same one likeliest; null where it is not told.
    ``kl_lower_bound``: of the divergence a token. Null where no token could be compared.
    """

    answers: int = 0
    tokens: int = 0
    mean_difference: float | None = None
    p99_difference: float | None = None
    top1: float | None = None
    kl_lower_bound: float | None = None


class LogprobsReport(LogprobsDifference):
    """What the endpoint itself tells of given texts: described, and no part of the verdict.

    ``requests``: made for it, which are in no other figure of the report, nor is ``usd``, what they
    cost at most. ``left_out``: texts by cause.
    """

    requests: int
    usd: float | None = None
    left_out: dict[str, int] = Field(default_factory=dict)


class FindingReport(Part):
    """A property of the answers that is not a property of the model, such as a cap on their length.

    ``p``: of its test, unadjusted; null where it was read and not tested. ``figures``: those of the
    sentence.
    """

    kind: str
    sentence: str
    p: float | None = None
    figures: dict[str, float] = Field(default_factory=dict)


class IdentityReport(Part):
    """A target's verdict.

    ``p``: of all instruments together (Bonferroni), adjusted for all targets (Holm); null where
    nothing was tested. Of ``calls`` sampled answers ``used`` were scored, with ``tokens`` tokens
    of ``entropy`` nats each; ``left_out`` says by cause what became of the others.
    ``counts_differ``: answers in which the provider counts another number of tokens.
    ``candidates``: log10 of each one's likelihood over the reference's. ``share``: of the calls,
    about how many fit ``closest``; null where that is not a part of them only. ``closest``: null
    unless a test on candidates rejects. ``restored``: white space that the provider trims.
    ``power_by_candidate``: the probability that this run would have detected a target that serves
    the candidate. ``power_of_score_test``: the same of the score test alone, which does not use the
    candidates. ``smallest_detectable_kl``: always null, since it held for candidates only.
    ``findings``: properties of the answers apart from the model, by subject; their effect is undone
    on both sides before the model is tested.
    ``usd``: the cost of the sampled answers. ``logprobs``: null where the endpoint was not asked.
    """

    verdict: Literal["reference", "consistent", "different", "undetermined", "not-tested"]
    sentence: str
    evidence: dict[str, EvidenceReport] = Field(default_factory=dict)
    findings: dict[str, FindingReport] = Field(default_factory=dict)
    smallest_detectable_kl: None = None
    power_by_candidate: dict[str, float] = Field(default_factory=dict)
    power_of_score_test: dict[str, float] = Field(default_factory=dict)
    calls: int = 0
    used: int = 0
    tokens: int = 0
    left_out: dict[str, int] = Field(default_factory=dict)
    counts_differ: int = 0
    entropy: float | None = None
    p: float | None = None
    closest: str | None = None
    candidates: dict[str, float] = Field(default_factory=dict)
    share: float | None = None
    temperature: TemperatureReport | None = None
    wrapped: bool = False
    restored: str | None = None
    usd: float | None = None
    logprobs: LogprobsReport | None = None


class PrecisionReport(Part):
    """The local weights in one honest precision, in the same test.

    ``kl_per_token``: how much likelier it finds its own answers than the reference does.
    ``logprobs``: of the texts that endpoints were asked about; null of the reference.
    """

    kl_per_token: float
    verdict: Literal["consistent", "different", "undetermined"]
    p: float | None = None
    temperature: TemperatureReport | None = None
    logprobs: LogprobsDifference | None = None


class IdentityCalibrationReport(Part):
    """What the local weights answered to the same prompts, with which targets are compared.

    ``honest``: the precisions in which the model counts as itself, the first is the reference.
    ``entropy``: nats a token of the reference's own answers, and by prompt: where it is near 0, an
    answer tells nothing. ``candidates``: how much likelier the reference finds its own answers
    than each candidate does, nats a token.
    """

    model: str
    honest: tuple[str, ...]
    alpha: float
    prompts: int
    calls: int
    tokens: int
    entropy: float
    entropy_by_prompt: dict[str, float] = Field(default_factory=dict)
    candidates: dict[str, float] = Field(default_factory=dict)
    precisions: dict[str, PrecisionReport] = Field(default_factory=dict)


class ClaimReport(Part):
    """A published ratio, and what can be said of it.

    ``original`` is the traceable original's own arithmetic at this run's output/input ratio.
    """

    value: float
    source: str
    date: str
    note: str = ""
    output_per_input: float | None = None
    original: float | None = None


class SensitivityReport(Part):
    """How many times cheaper ``target`` were with one assumption changed.

    ``seconds``: how long a summary may take on that GPU, at full use, to reach the published
    ratio.
    """

    factor: Literal["output/input", "utilisation", "GPU"]
    target: Name
    setting: str
    value: float
    times: float
    seconds: float | None = None


class BaselineQuality(Part):
    """How a live baseline answered: its quality beside its price."""

    ok: int
    attempted: int
    exact_cut: Interval | None = None
    edit_similarity: Interval | None = None
    reference: Name | None = None


class BaselineReport(Part):
    """How many times cheaper than the baseline each target is.

    ``times_cheaper`` takes the price as it stands (machine time: busy seconds, or at a stated
    utilisation); ``at_volume`` pays machines for whole days at the given volume. ``usd_input``
    and ``usd_output`` are per 1M tokens; null, as ``source`` and ``date``, for a live baseline
    that has none.
    """

    name: str
    live: bool
    usd_input: float | None = None
    usd_output: float | None = None
    source: str | None = None
    date: str | None = None
    stale: bool = False
    tokenizer_ratio: float = 1.0
    published: ClaimReport
    times_cheaper: dict[Name, Interval | None]
    at_volume: dict[Name, Interval | None] = Field(default_factory=dict)
    unknown: dict[Name, str] = Field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    sensitivity: tuple[SensitivityReport, ...] = ()
    quality: BaselineQuality | None = None


class ChangeReport(Part):
    """From ``volume`` summaries a day on, ``cheaper`` is the cheaper one of two."""

    volume: float
    cheaper: Name


class BreakEvenReport(Part):
    """The pair ``a:b`` over the volume of a day.

    ``volume`` is where the cheaper one changes first; null where it does not. ``changes`` lists
    every change; ``agreement`` is the share of resamples with the same ends.
    """

    below: Name | None
    above: Name | None
    volume: Interval | None
    changes: tuple[ChangeReport, ...] = ()
    agreement: float
    simulated: bool = False
    sentence: str


class CurveReport(Part):
    """US dollars per acceptable summary over summaries a day, idle time included."""

    volumes: tuple[float, ...]
    usd_per_summary: dict[Name, tuple[float, ...]]


class VolumeReport(Part):
    """What a summary costs at ``per_day``, idle time included, and who is cheapest there."""

    per_day: float
    cheapest: Name | None
    usd_per_summary: dict[Name, Interval | None]
    machines: dict[Name, int] = Field(default_factory=dict)
    sentence: str


class ChoiceReport(Part):
    """The values of a target on which the decision is based.

    ``cost`` is per answer, at the volume if one is given. ``p95`` is null with ``p95_above`` set if
    so many requests failed that it is only known to be above that. ``too_few`` says why the target
    has too few answers to be chosen.
    """

    cost: Interval | None
    p95: float | None
    p95_above: float | None = None
    agreement: float | None
    identity: str
    valid: bool
    dominated_by: tuple[Name, ...] = ()
    fails: tuple[str, ...] = ()
    too_few: str | None = None
    simulated: bool = False


class DecisionReport(Part):
    """The target to choose, and what would change the decision.

    ``winner`` is null if no target can be chosen, for example because the run is invalid;
    ``sentence`` then begins with "No decision" and names the reason and the next step.
    ``excluded``: why a target cannot be chosen, by its name. ``basis``: the cost that decides.
    """

    basis: str
    choices: dict[Name, ChoiceReport]
    winner: Name | None
    sentence: str
    excluded: dict[Name, str] = {}
    would_change: tuple[str, ...] = ()


class LikenessReport(Part):
    """A likeness ``value`` over ``prompts``, beside that of shuffled pairs (``baseline``).

    ``above_chance`` is (value - baseline) / (1 - baseline); null where there is no other prompt
    to compare with, or chance alone gives 1.
    """

    prompts: int
    value: Interval
    baseline: float | None
    above_chance: float | None


class QualityReport(Part):
    """Content of a target's answers; never evidence of identity. ``unknown`` says why null.

    ``rouge_l``, ``chrf`` and ``cosine`` compare with the input's references. ``faithful``: the
    share of a summary's numbers and names that its source has; ``unsupported``: the rate of
    prompts with one that it lacks. ``tokens``: median length; ``length_ratio``: over the
    reference's, in words. ``past_first_sentence``: the share of words behind the first sentence.
    """

    prompts: int
    rouge_l: LikenessReport | None = None
    chrf: LikenessReport | None = None
    cosine: LikenessReport | None = None
    faithful: LikenessReport | None = None
    unsupported: Interval | None = None
    tokens: Interval | None = None
    length_ratio: Interval | None = None
    past_first_sentence: Interval | None = None
    unknown: dict[str, str] = Field(default_factory=dict)


SCHEMA = "phi2sdk.report/1"


class QuantileReport(Part):
    """An order statistic of all requests, failures ranked last.

    ``value`` null: so many failed that it is only known to be above ``censored_above``. ``low``
    and ``high`` null: too few prompts for a 95 % interval. ``high`` alone null: no upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    censored_above: float | None = None


class LatencySummary(Part):
    """One latency in seconds: ``n`` values, of which ``censored`` never came."""

    n: int
    censored: int = 0
    p50: QuantileReport
    p90: QuantileReport
    p95: QuantileReport
    p99: QuantileReport


class LatencyReport(Part):
    """Null where the target has no such latency: nothing was streamed."""

    ttft: LatencySummary | None = None
    e2e: LatencySummary | None = None
    response: LatencySummary | None = None
    tpot: LatencySummary | None = None
    icl: LatencySummary | None = None


class ThroughputReport(Part):
    """``tokens_per_second`` over ``seconds``; ``basis`` says which seconds those are."""

    tokens_per_second: float | None
    seconds: float
    basis: Literal["window", "busy"]
    tokens_per_chunk: float | None = None
    longest_stall: float | None = None


class TokensReport(Part):
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


class CostReport(Part):
    """US dollars per acceptable answer; failures, retries and the warm-up are paid for too.

    ``token_priced``: tokens and calls alone. ``busy``: machine time for the seconds used only.
    ``reserved``: idle time included. ``unknown`` says why one of them is null. ``stale``: the
    price was more than 180 days old when the run began. ``simulated``: an emulator answered, or
    the price is an example of the demo.
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


class ErrorsReport(Part):
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


class WarmupReport(Part):
    """Requests before the run, apart from all statistics; ``first`` is the very first one."""

    n: int
    failed: int
    first: float | None = None
    median: float | None = None


class GoodputReport(Part):
    """Requests that met every service level: per second, and as a fraction of all attempted."""

    slo: dict[str, float]
    good: int
    attempted: int
    fraction: Interval
    per_second: float | None


class HarnessError(Part):
    """The harness' own error of a latency in seconds, as its calibration found it."""

    p50: float
    p99: float


class CalibrationReport(Part):
    """The harness' own error on one wire, with ``streams`` requests under way."""

    streams: int
    n: int
    ttft: HarnessError
    e2e: HarnessError


class TargetReport(Part):
    """One target. ``wire`` names its calibration, and ``device`` the device of a local target.

    Both are null if they are not known.
    """

    backend: str
    route: str | None = None
    model: str | None = None
    reference: bool = False
    streams: bool
    wrapped: bool = False
    simulated: bool = False
    wire: str | None = None
    device: str | None = None
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


class RatioReport(Part):
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


class LatencyRatioReport(Part):
    """By latency; null where one of the two has no such latency."""

    e2e: RatioReport | None = None
    ttft: RatioReport | None = None


class PairReport(Part):
    """Target b against target a, of the pair ``a:b``.

    ``divergence_p``: that both part from the reference's answers equally late (log-rank), adjusted
    for all pairs of targets that are not the reference.
    """

    latency_ratio: LatencyRatioReport = LatencyRatioReport()
    cost_ratio: Interval | None = None
    agreement: AgreementReport | None = None
    divergence_p: float | None = None
    simulated: bool = False


class LagReport(Part):
    """A lag in seconds; null where nothing was recorded."""

    p50: float | None
    p99: float | None
    max: float | None


class ValidityReport(Part):
    """Whether the numbers can be believed: ``sentence`` is the first line of every report."""

    valid: bool
    sentence: str
    reasons: tuple[str, ...] = ()
    schedule_lag: LagReport
    loop_lag: LagReport
    cpu_share: float | None = None
    calibration: dict[str, CalibrationReport] = {}


class RequirementReport(Part):
    """One ``--require``: only ``holds`` passes; ``not shown`` says that the data do not decide."""

    requirement: str
    holds: bool
    outcome: Literal["holds", "fails", "not shown"]
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class RunReport(Part):
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

    @property
    def answers(self) -> str:
        """What the targets answered with: ``summaries``, or ``answers`` to other prompts."""
        return "summaries" if self.task == "summarize" else "answers"


class Findings(Part):
    """All that the records say, before requirements and a decision are evaluated on it."""

    schema_: Literal["phi2sdk.report/1"] = Field(default="phi2sdk.report/1", alias="schema")
    run: RunReport
    validity: ValidityReport
    targets: dict[Name, TargetReport]
    pairs: dict[str, PairReport] = {}
    break_even: dict[str, BreakEvenReport] = {}
    volume: VolumeReport | None = None
    cost_curve: CurveReport | None = None
    baseline: BaselineReport | None = None
    identity: dict[Name, IdentityReport] = {}
    identity_calibration: IdentityCalibrationReport | None = None


class Report(Findings):
    """The whole report of a run."""

    requirements: tuple[RequirementReport, ...] = ()
    decision: DecisionReport | None = None

    @property
    def failed(self) -> int:
        """Requests without an answer, over all targets; sampled ones may end at once."""
        greedy = sum(t.errors.attempted - t.errors.ok for t in self.targets.values())
        sampled = (one.left_out for one in self.identity.values())
        return greedy + sum(n.get("failed", 0) + n.get("filtered", 0) for n in sampled)

    def to_json(self) -> str:
        """The document as ``report.json`` holds it."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def json_schema() -> str:
    """The JSON Schema of ``report.json``, generated from the models above."""
    schema: dict[str, Any] = Report.model_json_schema(by_alias=True, mode="serialization")
    schema["$id"] = "urn:phi2sdk:report:1"
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def published_schema() -> str:
    """The JSON Schema that comes with the package."""
    return files("phi2sdk.report").joinpath("report.schema.json").read_text(encoding="utf-8")
