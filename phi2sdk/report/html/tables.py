"""The page's other tables: latencies with their intervals, agreement, receipts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phi2sdk.measure.records import Record
from phi2sdk.report.html.cells import Cell, count, latency, rate, score
from phi2sdk.report.schema import AgreementReport, LatencyReport, Report

__all__ = [
    "MEASURES",
    "Matrix",
    "QUANTILES",
    "Receipt",
    "diagnoses",
    "latencies",
    "matrices",
    "receipts",
]

QUANTILES = ("p50", "p90", "p95", "p99")
MEASURES = (
    ("exact_cut", "same after the cut", "prompts whose answers are equal after both were cut"),
    ("exact_bytes", "same bytes", "prompts whose answers are equal as received"),
    ("edit_similarity", "edit similarity", "1 - Levenshtein distance over the longer, in tokens"),
    ("prefix_fraction", "common prefix", "common prefix over the longer, in tokens"),
    ("first_divergence", "first divergence", "median number of tokens before two answers part"),
)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A measure of agreement between all targets; the diagonal is each with itself."""

    key: str
    title: str
    meaning: str
    rows: Mapping[str, Mapping[str, Cell]]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was really asked of a target, and how it ended."""

    name: str
    backend: str
    route: str | None
    model: str | None
    streams: bool
    wrapped: bool
    finish: Mapping[str, int]
    outcomes: Mapping[str, int]
    retries: int
    waited: float
    kinds: Mapping[str, int]
    examples: Mapping[str, str]


def latencies(report: Report) -> dict[str, dict[str, dict[str, Cell]]]:
    """``{metric: {target: {quantile: cell}}}``, metrics that nobody has left out."""
    found = {}
    for metric in LatencyReport.model_fields:
        rows = {
            name: {
                "n": count(summary.n),
                **{q: latency(summary, q, simulated=target.simulated) for q in QUANTILES},
            }
            for name, target in report.targets.items()
            if (summary := getattr(target.latency, metric)) is not None
        }
        if rows:
            found[metric] = rows
    return found


def matrices(report: Report) -> list[Matrix]:
    """Each measure of agreement, target by target."""
    names = list(report.targets)
    return [
        Matrix(
            key,
            title,
            meaning,
            {a: {b: _agreement(_between(report, a, b), key) for b in names} for a in names},
        )
        for key, title, meaning in MEASURES
    ]


def diagnoses(report: Report) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """``(target, sentence, facts)`` on why its answers differ from the reference's."""
    found = []
    for name, target in report.targets.items():
        if (why := target.diagnosis) is None:
            continue
        facts = []
        if why.kinds:
            facts.append(
                ("they differ by", ", ".join(f"{n} {kind}" for kind, n in why.kinds.items()))
            )
        if why.varies:
            facts.append(("contradicts itself", f"on {why.varies} prompts"))
        if (regret := why.regret) is not None:
            facts.append(("tokens off", f"{regret.off:,} of {regret.tokens:,}"))
            facts.append(
                ("regret", f"at most {regret.maximum:.3g} nats; a tie to {regret.tie:.2g}")
            )
        if (worst := why.unexplained) is not None:
            where = f"prompt {worst.prompt}, token {worst.token}: {worst.regret:.3g} nats"
            facts.append(("unexplained", where))
        found.append((name, why.sentence, facts))
    return found


def receipts(report: Report, by_target: Mapping[str, Sequence[Record]]) -> list[Receipt]:
    """Each target's."""
    found = []
    for name, target in report.targets.items():
        reasons: dict[str, int] = {}
        for record in by_target.get(name, ()):
            if record.ok:
                reason = record.finish_reason or "not told"
                reasons[reason] = reasons.get(reason, 0) + 1
        errors = target.errors
        found.append(
            Receipt(
                name=name,
                backend=target.backend,
                route=target.route,
                model=target.model,
                streams=target.streams,
                wrapped=target.wrapped,
                finish=dict(sorted(reasons.items(), key=lambda item: -item[1])),
                outcomes={
                    outcome: n
                    for outcome in ("ok", "empty", "filtered", "timeout", "error")
                    if (n := getattr(errors, outcome))
                },
                retries=errors.retries,
                waited=errors.waited,
                kinds=errors.kinds,
                examples=errors.examples,
            )
        )
    return found


def _between(report: Report, a: str, b: str) -> AgreementReport | None:
    if a == b:
        return report.targets[a].self_agreement
    pair = report.pairs.get(f"{a}:{b}") or report.pairs.get(f"{b}:{a}")
    return pair.agreement if pair else None


def _agreement(found: AgreementReport | None, key: str) -> Cell:
    if key == "first_divergence":
        return _divergence(found)
    value = getattr(found, key) if found else None
    return rate(value) if key.startswith("exact") else score(value)


def _divergence(found: AgreementReport | None) -> Cell:
    if found is None or not found.prompts:
        return Cell("-", about="nothing to compare")
    if found.first_divergence is None:
        return Cell("not reached", about="most answers do not part")
    low, high = found.first_divergence_low, found.first_divergence_high
    ends = "" if low is None else f"{low:.0f} – {'no end' if high is None else f'{high:.0f}'}"
    return Cell(f"{found.first_divergence:.0f}", ends)
