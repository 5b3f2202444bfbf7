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
    """A part of a report: frozen, and without undeclared fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Interval(Part):
    """A value and its 95% interval; an end is null if there is none."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, estimate: _Estimate | None) -> Interval | None:
        """Return an estimate in the form of the report; ``None`` if it has no value."""
        if estimate is None or estimate.value is None:
            return None
        return cls(value=estimate.value, low=estimate.low, high=estimate.high)


class AgreementReport(Part):
    """The agreement of two targets' greedy answers, over ``prompts`` with an answer from both.

    ``first_divergence``: the median number of tokens before answers differ (Kaplan-Meier: equal
    answers are censored at their length), with its interval; null if fewer than half differ.
    ``parted``: the number of prompts whose answers differ.
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
    """The token with the largest regret that is not a tie; the first token is 1."""

    prompt: str
    token: int
    regret: float


class RegretReport(Part):
    """The regret of a target's tokens: how much more likely the reference's choice was, in nats.

    ``off`` of all ``tokens`` were not the most likely ones (``rate``). ``at_divergence``: the
    median at the first difference from the reference. A regret up to ``tie`` is a tie: at least
    0.01, and twice the regret of the reference's own weights in other precisions.
    """

    answers: int
    tokens: int
    off: int
    rate: float | None
    at_divergence: float | None
    maximum: float
    tie: float


class DiagnosisReport(Part):
    """The cause of the differences from the reference's answers, on ``differ`` of ``prompts``.

    ``cause``: of most differences; ``kinds``: the number of prompts by kind of difference.
    ``varies``: prompts whose answers vary between repetitions. ``cut_at``: the tokens of an answer,
    if all are cut at the same length. ``regret``: null without local weights.
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
    """One test of a target's answers against the reference's own.

    ``p``: adjusted for the other tests of the target (Westfall and Young), the largest over the
    precisions in ``honest``. ``p_by_precision``: unadjusted.

    ``statistic``: of ``score``, standard errors (above 0: the answers are more likely under the
    reference than its own are); of ``line-up`` and ``routing``, the logarithm of an e-value; of
    ``mmd``, the squared MMD; of ``bigrams`` and ``tokens``, standard deviations above the mean of
    the permutations.
    """

    p: float
    p_by_precision: dict[str, float]
    statistic: float
    sentence: str


class TemperatureReport(Part):
    """The temperature at which the reference would have written the texts, with its interval.

    An end is null if it is outside of the range that can be estimated, 0.4 to 2.5.
    """

    value: float
    low: float | None = None
    high: float | None = None


class LogprobsDifference(Part):
    """Log-probabilities of the same tokens compared with those of the reference, in nats.

    ``mean_difference`` and ``p99_difference``: of ``|log p - log p_ref|``. ``top1``: share of the
    positions at which both have the same most likely token; null if it is not reported.
    ``kl_lower_bound``: of the divergence per token. Null if no token could be compared.
    """

    answers: int = 0
    tokens: int = 0
    mean_difference: float | None = None
    p99_difference: float | None = None
    top1: float | None = None
    kl_lower_bound: float | None = None


class LogprobsReport(LogprobsDifference):
    """The log-probabilities that the endpoint reports, and their test.

    ``requests`` and their maximum cost ``usd`` are in no other number of the report. ``left_out``:
    texts by cause. ``verdict``: of this test alone; null where nothing was tested. ``p``: adjusted
    for the questions of the test, not for the tests of sampled answers and the other targets.
    ``named``: the candidate whose pattern explains the differences. ``size``: that of the
    differences, divided by that of ``precision``, the honest precision with the largest.
    ``shares``: how much of each candidate's pattern the differences contain, 1 for all of it.
    ``p_by_question``: of ``size`` and of each candidate. ``p_consistent``: of the hypothesis that
    the size or a share is above its bound.
    """

    requests: int
    usd: float | None = None
    left_out: dict[str, int] = Field(default_factory=dict)
    verdict: Literal["consistent", "different", "undetermined"] | None = None
    p: float | None = None
    named: str | None = None
    precision: str | None = None
    size: float | None = None
    shares: dict[str, float] = Field(default_factory=dict)
    p_by_question: dict[str, float] = Field(default_factory=dict)
    p_consistent: float | None = None


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

    ``p_target``: of all tests of this target together: those of the sampled answers (Westfall and
    Young), and of log-probabilities beside them (Bonferroni). ``p``: the same, adjusted for all
    targets (Holm). Both are null where nothing was tested. Of ``calls`` sampled
    answers ``used`` were scored, with ``tokens`` tokens of ``entropy`` nats each; ``left_out``
    counts the others by cause.
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
    p_target: float | None = None
    closest: str | None = None
    candidates: dict[str, float] = Field(default_factory=dict)
    share: float | None = None
    temperature: TemperatureReport | None = None
    wrapped: bool = False
    restored: str | None = None
    usd: float | None = None
    logprobs: LogprobsReport | None = None


class PrecisionReport(Part):
    """The local weights in one precision that counts as the same model, in the same test.

    ``kl_per_token``: the mean log likelihood ratio of its own answers to the reference, per token.
    ``logprobs``: of the texts that the endpoints scored; null for the reference.
    """

    kl_per_token: float
    verdict: Literal["consistent", "different", "undetermined"]
    p: float | None = None
    temperature: TemperatureReport | None = None
    logprobs: LogprobsDifference | None = None


class IdentityCalibrationReport(Part):
    """The answers of the local weights to the same prompts, with which targets are compared.

    ``honest``: the precisions that count as the same model; the first is the reference.
    ``entropy``: of the reference's own answers, in nats per token, and by prompt; an answer with
    an entropy near 0 carries no information. ``candidates``: the mean log likelihood ratio of the
    reference's own answers to each candidate, in nats per token.
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
    """A published cost ratio.

    ``original`` is the value of its formula at the output/input ratio of this run.
    """

    value: float
    source: str
    date: str
    note: str = ""
    output_per_input: float | None = None
    original: float | None = None


class SensitivityReport(Part):
    """The cost ratio of ``target`` with one assumption changed.

    ``seconds``: the time per answer on that GPU, fully used, at which it reaches the published
    ratio.
    """

    factor: Literal["output/input", "utilisation", "GPU"]
    target: Name
    setting: str
    value: float
    times: float
    seconds: float | None = None


class BaselineQuality(Part):
    """The quality of a baseline that is a target of the run."""

    ok: int
    attempted: int
    exact_cut: Interval | None = None
    edit_similarity: Interval | None = None
    reference: Name | None = None


class BaselineReport(Part):
    """The cost of the baseline divided by that of each target.

    ``times_cheaper`` uses the configured price, with machines paid for busy seconds or at a stated
    share of use; ``at_volume`` pays machines for whole days at the given volume. ``usd_input``
    and ``usd_output`` are per 1M tokens; they are null, like ``source`` and ``date``, for a
    baseline that is a target without such a price.
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
    """Above ``volume`` answers per day, ``cheaper`` is the cheaper one of two targets."""

    volume: float
    cheaper: Name


class BreakEvenReport(Part):
    """The costs of the pair ``a:b`` over the volume per day.

    ``volume`` is the first volume at which the cheaper target changes; null if it does not.
    ``changes`` lists every change; ``agreement`` is the share of resamples with the same targets
    at both ends.
    """

    below: Name | None
    above: Name | None
    volume: Interval | None
    changes: tuple[ChangeReport, ...] = ()
    agreement: float
    simulated: bool = False
    sentence: str


class CurveReport(Part):
    """US dollars per acceptable answer over the volume per day, idle time included."""

    volumes: tuple[float, ...]
    usd_per_summary: dict[Name, tuple[float, ...]]


class VolumeReport(Part):
    """The cost per answer at ``per_day``, idle time included, and the cheapest target."""

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
    """A similarity ``value`` over ``prompts``, and that of shuffled pairs (``baseline``).

    ``above_chance`` is (value - baseline) / (1 - baseline); null where there is no other prompt
    to compare with, or chance alone gives 1.
    """

    prompts: int
    value: Interval
    baseline: float | None
    above_chance: float | None


class QualityReport(Part):
    """The content of a target's answers. It says nothing about the identity of the model.

    ``rouge_l``, ``chrf`` and ``cosine`` compare with the reference texts of the input.
    ``faithful``: the share of a summary's numbers and names that are in its source;
    ``unsupported``: the share of prompts with one that is not. ``tokens``: median length;
    ``length_ratio``: length over that of the reference text, in words. ``past_first_sentence``:
    the share of words after the first sentence. ``unknown``: why a value is null.
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
    """A quantile of all requests, in which failures are ranked last.

    ``value`` is null if so many requests failed that it is only known to be above
    ``censored_above``. ``low`` and ``high`` are null with too few prompts for a 95% interval;
    ``high`` alone is null if the interval has no upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    censored_above: float | None = None


class LatencySummary(Part):
    """One latency in seconds: ``n`` values, of which ``censored`` are failed requests."""

    n: int
    censored: int = 0
    p50: QuantileReport
    p90: QuantileReport
    p95: QuantileReport
    p99: QuantileReport


class LatencyReport(Part):
    """The latencies of a target; one that does not apply (TTFT without a stream) is null."""

    ttft: LatencySummary | None = None
    e2e: LatencySummary | None = None
    response: LatencySummary | None = None
    tpot: LatencySummary | None = None
    icl: LatencySummary | None = None


class ThroughputReport(Part):
    """Output tokens per second over ``seconds``, which are busy time or the whole window."""

    tokens_per_second: float | None
    seconds: float
    basis: Literal["window", "busy"]
    tokens_per_chunk: float | None = None
    longest_stall: float | None = None


class TokensReport(Part):
    """The tokens of all requests: as billed, and as counted after the stop cut.

    ``difference`` is (billed - counted) / counted, over requests with both counts whose whole
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
    """US dollars per acceptable answer, including failed requests, retries and the warm-up.

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
    """All requests by outcome; ``kinds`` counts errors by class, each with one of ``examples``."""

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
    """The warm-up requests, which no other statistic includes; ``first`` is the first of them."""

    n: int
    failed: int
    first: float | None = None
    median: float | None = None


class GoodputReport(Part):
    """Requests that met every service level: per second, and as a share of all requests."""

    slo: dict[str, float]
    good: int
    attempted: int
    fraction: Interval
    per_second: float | None


class HarnessError(Part):
    """The measurement error of a latency in seconds, as the calibration measured it."""

    p50: float
    p99: float


class CalibrationReport(Part):
    """The measurement error on one wire, with ``streams`` requests in flight."""

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
    """The latency of b divided by that of a, by prompt: below 1, b is faster.

    ``p`` and ``p_equivalent``, that of a difference of at least the margin, are adjusted for all
    pairs (Holm). ``prompts_needed``: about the number of prompts that would resolve the verdict.
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
    """The ratios by latency; null if one of the two targets has no such latency."""

    e2e: RatioReport | None = None
    ttft: RatioReport | None = None


class PairReport(Part):
    """Target b compared with target a, of the pair ``a:b``.

    ``divergence_p``: of the hypothesis that both diverge from the reference equally late
    (log-rank), adjusted for all pairs of targets that are not the reference.
    """

    latency_ratio: LatencyRatioReport = LatencyRatioReport()
    cost_ratio: Interval | None = None
    agreement: AgreementReport | None = None
    divergence_p: float | None = None
    simulated: bool = False


class LagReport(Part):
    """A lag in seconds; null if nothing was recorded."""

    p50: float | None
    p99: float | None
    max: float | None


class ValidityReport(Part):
    """The validity of the run; ``sentence`` is the first line of every report."""

    valid: bool
    sentence: str
    reasons: tuple[str, ...] = ()
    schedule_lag: LagReport
    loop_lag: LagReport
    cpu_share: float | None = None
    calibration: dict[str, CalibrationReport] = {}


class RequirementReport(Part):
    """One requirement; ``not shown`` means that the interval includes the limit, and fails too."""

    requirement: str
    holds: bool
    outcome: Literal["holds", "fails", "not shown"]
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class RunReport(Part):
    """The configuration of the run, its machine and its progress.

    ``duration``: the planned seconds of a run without a number of repetitions; ``repetitions`` is
    then the maximum per prompt. ``seconds``: the measured time of all sessions.
    ``unique_prefix``: each repetition had a prefix of its own. ``identity``: sampled answers per
    target, which count in ``requests``, ``recorded`` and ``lost``.
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
        """The noun for the answers of this task: ``summaries`` or ``answers``."""
        return "summaries" if self.task == "summarize" else "answers"


class Findings(Part):
    """Everything in a report except the requirements and the decision, which depend on it."""

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
        """The number of requests without an answer; a sampled answer may be empty."""
        greedy = sum(t.errors.attempted - t.errors.ok for t in self.targets.values())
        sampled = (one.left_out for one in self.identity.values())
        return greedy + sum(n.get("failed", 0) + n.get("filtered", 0) for n in sampled)

    def to_json(self) -> str:
        """Return the content of ``report.json``."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def json_schema(model: type[Part] = Report, name: str = "report") -> str:
    """Return the JSON Schema of ``report.json``, generated from the models above.

    Args:
        model: The whole document.
        name: Its name in the id of the schema.
    """
    schema: dict[str, Any] = model.model_json_schema(by_alias=True, mode="serialization")
    schema["$id"] = f"urn:phi2sdk:{name}:1"
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def published_schema(name: str = "report") -> str:
    """Return a JSON Schema that comes with the package: ``report`` or ``evaluation``."""
    return files("phi2sdk.report").joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
