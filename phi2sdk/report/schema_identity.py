"""The parts of ``report.json`` about identity: is a target the model that it says?

Likelihoods are in nats unless a name says otherwise. Nothing here says that two models are
identical: a target that passes could differ by less than ``smallest_detectable_kl``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from phi2sdk.report.schema_base import Part

__all__ = [
    "EvidenceReport",
    "IdentityCalibrationReport",
    "IdentityReport",
    "LogprobsDifference",
    "LogprobsReport",
    "PrecisionReport",
    "TemperatureReport",
]


class EvidenceReport(Part):
    """One instrument: ``p`` is the largest over the honest precisions, unadjusted.

    ``statistic``: of ``score``, standard deviations (above 0: likelier than its author would find
    it); of ``line-up`` and ``routing``, the logarithm of an e-value; of ``mmd``, the squared MMD.
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


class IdentityReport(Part):
    """A target's verdict.

    ``p``: of all instruments together (Bonferroni), adjusted for all targets (Holm); null where
    nothing was tested. Of ``calls`` sampled answers ``used`` were scored, with ``tokens`` tokens
    of ``entropy`` nats each; ``left_out`` says by cause what became of the others.
    ``counts_differ``: answers in which the provider counts another number of tokens.
    ``candidates``: log10 of each one's likelihood over the reference's. ``share``: of the calls,
    about how many another one answered. ``restored``: white space that the provider trims.
    ``smallest_detectable_kl``: nats a token. ``usd``: what the sampled answers cost. ``logprobs``:
    null where the endpoint was not asked for any.
    """

    verdict: Literal["reference", "consistent", "different", "undetermined", "not-tested"]
    sentence: str
    evidence: dict[str, EvidenceReport] = Field(default_factory=dict)
    smallest_detectable_kl: float | None = None
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
