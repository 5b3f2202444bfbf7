"""The evidence on the identity of each target's model, as the page shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from phi2sdk.report.html.cells import Cell
from phi2sdk.report.identity import logprobs_sentence
from phi2sdk.report.schema import (
    EvidenceReport,
    IdentityCalibrationReport,
    IdentityReport,
    Report,
    TemperatureReport,
)
from phi2sdk.report.words import UNKNOWN

__all__ = ["Calibration", "Evidence", "Identity", "calibration", "identities"]

_NAMES = {
    "score": "score test",
    "line-up": "line-up of candidates",
    "routing": "some calls routed elsewhere",
    "mmd": "MMD, text against text",
}
_STATISTICS = {"score": "Z", "line-up": "log e", "routing": "log e", "mmd": "MMD²"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one instrument found."""

    name: str
    statistic: str
    p: str
    by_precision: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A target's verdict and what it rests on.

    ``summary``: p, closest candidate, temperature, calls, smallest KL. ``facts``: what, and its
    value.
    """

    name: str
    verdict: str
    sentence: str
    summary: Sequence[Cell]
    evidence: Sequence[Evidence]
    facts: Sequence[tuple[str, str]]
    candidates: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the local weights themselves do in the same tests.

    ``precisions``: ``(name, verdict, p, KL, temperature)``. ``candidates``: KL in nats a token,
    the hardest to tell first. ``entropy``: nats a token by prompt, the least telling first.
    """

    facts: Sequence[tuple[str, str]]
    precisions: Sequence[tuple[str, str, str, str, str]]
    candidates: Mapping[str, float]
    entropy: Mapping[str, float]


def identities(report: Report) -> list[Identity]:
    """Every target of the report's section, those that are accused first."""
    found = [
        Identity(
            name=name,
            verdict=one.verdict,
            sentence=one.sentence,
            summary=_summary(one),
            evidence=[_evidence(key, evidence) for key, evidence in one.evidence.items()],
            facts=[*_facts(one), *_logprobs(report, name)],
            candidates=one.candidates,
        )
        for name, one in report.identity.items()
        if name in report.targets
    ]
    return sorted(found, key=lambda one: one.verdict != "different")


def calibration(found: IdentityCalibrationReport | None) -> Calibration | None:
    """The local weights in the same tests; ``None`` where they were not run."""
    if found is None:
        return None
    return Calibration(
        facts=[
            ("model", found.model),
            ("honest precisions", ", ".join(found.honest)),
            ("false alarms", f"at most {found.alpha:g} that any honest target is accused"),
            ("answers", f"{found.calls:,} to {found.prompts:,} prompts in each precision"),
            ("tokens", f"{found.tokens:,}"),
            ("entropy", f"{found.entropy:.3g} nats a token: near 0 an answer tells nothing"),
        ],
        precisions=[
            (name, one.verdict, _p(one.p), f"{one.kl_per_token:.2g}", _temperature(one.temperature))
            for name, one in found.precisions.items()
        ],
        candidates=dict(sorted(found.candidates.items(), key=lambda item: item[1])),
        entropy=dict(sorted(found.entropy_by_prompt.items(), key=lambda item: item[1])),
    )


def _evidence(key: str, found: EvidenceReport) -> Evidence:
    precisions = found.p_by_precision.items()
    return Evidence(
        name=_NAMES.get(key, key),
        statistic=f"{_STATISTICS.get(key, '')} {found.statistic:.3g}".strip(),
        p=_p(found.p),
        by_precision=", ".join(f"{name} {_p(value)}" for name, value in precisions),
        sentence=found.sentence,
    )


def _summary(found: IdentityReport) -> list[Cell]:
    heat, kl = found.temperature, found.smallest_detectable_kl
    ends = (
        ""
        if heat is None
        else _temperature(heat).partition(" ")[2].strip("[]").replace(", ", " – ")
    )
    return [
        Cell(_p(found.p), sort=found.p),
        Cell(found.closest or UNKNOWN),
        Cell(UNKNOWN) if heat is None else Cell(f"{heat.value:.2f}", ends, heat.value),
        Cell(f"{found.used:,} of {found.calls:,}", sort=found.used),
        Cell(UNKNOWN if kl is None else f"{kl:.2g}", sort=kl),
    ]


def _facts(found: IdentityReport) -> Iterator[tuple[str, str]]:
    if found.share is not None and found.verdict == "different":
        yield "answered elsewhere", f"about {found.share:.0%} of the calls"
    if found.calls:
        yield "tokens scored", f"{found.tokens:,}"
    if found.left_out:
        yield "left out", ", ".join(f"{n:,} {why}" for why, n in found.left_out.items())
    if found.counts_differ:
        yield "counted otherwise", f"{found.counts_differ:,} answers, by the provider's own count"
    if found.entropy is not None:
        yield "entropy", f"{found.entropy:.3g} nats a token"
    if found.wrapped:
        yield "prompt", "wrapped in a template by the route: the answers are another prompt's"
    if found.restored is not None:
        yield "put back", f"{found.restored!r}, which the provider trims"
    if found.usd is not None:
        yield "cost of the calls", f"${found.usd:.2g}"


def _logprobs(report: Report, name: str) -> Iterator[tuple[str, str]]:
    if said := logprobs_sentence(report, name):
        yield "told by itself", said


def _temperature(found: TemperatureReport | None) -> str:
    if found is None:
        return UNKNOWN
    low = "below" if found.low is None else f"{found.low:.2f}"
    high = "above" if found.high is None else f"{found.high:.2f}"
    return f"{found.value:.2f} [{low}, {high}]"


def _p(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"
