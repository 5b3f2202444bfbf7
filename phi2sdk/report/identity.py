"""Whether a target serves the model that it claims: what ``identity.json`` says, and its tables.

Needs no weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from phi2sdk.analysis.cost import spend_of
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import IDENTITY, Run
from phi2sdk.measure.gpu_power import price_of
from phi2sdk.measure.records import Record
from phi2sdk.report.format import UNKNOWN, p_value
from phi2sdk.report.measured import Measured
from phi2sdk.report.schema import (
    EvidenceReport,
    IdentityCalibrationReport,
    IdentityReport,
    LogprobsReport,
    Report,
    TemperatureReport,
)
from phi2sdk.report.section import Cell, Column, Facts, Section, target_column, words

__all__ = [
    "Examined",
    "calibration",
    "examined",
    "identity_reports",
    "sections",
    "verdicts_table",
]

HOW = (
    "local weights are needed: name them with --identity-model (a folder, or a hub id that is in "
    "the cache) and install phi2sdk[local]"
)
FLAT = 0.2
"""Nats a token: answers below it are nearly certain, and tell nearly nothing."""

# ------------------------------------------------------------------------- numbers


def identity_reports(
    measured: Measured,
) -> tuple[dict[str, IdentityReport], IdentityCalibrationReport | None]:
    """The verdict on each target, and what the local weights do in the same tests.

    Empty and ``None`` where the run has no sampled arm.

    Raises:
        ConfigurationError: ``identity.json`` is damaged.
    """
    run = measured.run
    if not run.identity_prompts:
        return {}, None
    document, why = _document(run, measured.sampled)
    try:
        found = {
            name: IdentityReport(
                **{
                    **(document["targets"][name] if why is None else _untested(name, why)),
                    "logprobs": _logprobs(run, name, document if why is None else {}),
                    "usd": _usd(measured, name),
                }
            )
            for name in measured.targets
        }
        own = IdentityCalibrationReport(**document["calibration"]) if why is None else None
    except (KeyError, TypeError, ValidationError) as error:
        raise ConfigurationError(f"{IDENTITY} is damaged: examine the run again") from error
    return found, own


def _document(
    run: Run, sampled: Mapping[str, Sequence[Record]]
) -> tuple[Mapping[str, Any], str | None]:
    """``identity.json``, or why it says nothing of this run as it stands."""
    found = run.identity
    if "unavailable" in found:
        return found, str(found["unavailable"])
    if "targets" not in found:
        return found, HOW
    if found.get("records") != sum(map(len, sampled.values())):
        return found, "answers came after they were examined: repeat the command with --resume"
    return found, None


def _untested(name: str, why: str) -> dict[str, Any]:
    return {"verdict": "not-tested", "sentence": f"{name}: not tested, since {why}."}


def _logprobs(run: Run, name: str, document: Mapping[str, Any]) -> LogprobsReport | None:
    """The requests that were made for it, with figures where weights were at hand since."""
    mine = [one for one in run.told if one.target == name]
    if not mine:
        return None
    costs = [one.usd for one in mine if one.usd is not None]
    current = document.get("told") == len(run.told)
    figures = document["targets"][name].get("logprobs", {}) if current else {}
    usd = sum(costs) if len(costs) == len(mine) else None
    return LogprobsReport(**figures, requests=len(mine), usd=usd)


def _usd(measured: Measured, name: str) -> float | None:
    """What the sampled arm of a target cost."""
    records = measured.sampled[name]
    price = price_of(measured.run, name, records)
    if price is None or not records:
        return None
    texts = measured.run.identity_prompts.__getitem__
    spend = spend_of(price, records, texts, measured.tokenizer)
    return None if spend is None else float(spend.usd.sum())


# -------------------------------------------------------------------------- tables

_TESTS = {
    "score": ("score test", "Z"),
    "line-up": ("line-up of candidates", "log e"),
    "routing": ("some calls routed elsewhere", "log e"),
    "mmd": ("MMD, text against text", "MMD²"),
}
"""Key in the report -> name and statistic of a test."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A target's verdict and what it rests on.

    Attributes:
        name: The target.
        verdict: As in the report.
        sentence: The verdict in words.
        evidence: What each test found; ``None`` where none was made.
        facts: Further numbers.
        candidates: log10 of the likelihood ratio of each candidate model to the reference.
    """

    name: str
    verdict: str
    sentence: str
    evidence: Section | None
    facts: Facts
    candidates: Section | None


def sections(report: Report) -> Iterator[Section]:
    """Nothing where the run has no sampled arm."""
    if not report.identity:
        return
    tested = {n: one for n, one in report.identity.items() if one.verdict != "not-tested"}
    lines = [one.sentence for one in report.identity.values()]
    if len({line.split(": ", 1)[-1] for line in lines}) == 1 and not tested:
        lines = [f"All targets: {lines[0].split(': ', 1)[-1]}"]
    for name, one in tested.items():
        lines += _remarks(name, one)
    lines += [f"{n}: {said}" for n in report.identity if (said := logprobs_sentence(report, n))]
    if report.identity_calibration is not None:
        lines += _calibration(report.identity_calibration)
    yield verdicts_table(report, tested, lines)


def verdicts_table(
    report: Report, shown: Mapping[str, IdentityReport] | None = None, lines: Sequence[str] = ()
) -> Section:
    """The verdict on each target in a table, accused targets first where all are shown."""
    found = dict(sorted(report.identity.items(), key=lambda item: item[1].verdict != "different"))
    return Section(
        "Is it the same model? (sampled answers)",
        (
            target_column(),
            Column("verdict", "same_model", words=True),
            Column("p", "p_value"),
            Column("closest candidate", "candidate", words=True),
            Column("temperature", "effective_temperature"),
            Column("calls", "calls"),
            Column("smallest KL", "smallest_kl"),
        ),
        [_row(name, one) for name, one in (found if shown is None else shown).items()],
        lines,
    )


def examined(report: Report) -> list[Examined]:
    """Every target of the report's identity part, those that are accused first."""
    found = [
        Examined(
            name,
            one.verdict,
            one.sentence,
            _evidence(name, one.evidence) if one.evidence else None,
            [*_facts(one), *_own_logprobs(report, name)],
            _candidates(name, one.candidates) if one.candidates else None,
        )
        for name, one in report.identity.items()
        if name in report.targets
    ]
    return sorted(found, key=lambda one: one.verdict != "different")


def calibration(found: IdentityCalibrationReport | None) -> tuple[Facts, list[Section]]:
    """The local weights in the same tests: facts, and tables; nothing where they were not run."""
    if found is None:
        return [], []
    facts = [
        ("model", found.model),
        ("honest precisions", ", ".join(found.honest)),
        ("false alarms", f"at most {found.alpha:g} that any honest target is accused"),
        ("answers", f"{found.calls:,} to {found.prompts:,} prompts in each precision"),
        ("tokens", f"{found.tokens:,}"),
        ("entropy", f"{found.entropy:.3g} nats a token: near 0 an answer tells nothing"),
    ]
    tables = [
        Section(
            "The local weights in each honest precision",
            (
                Column("precision", "precision", words=True),
                Column("verdict", "same_model", words=True),
                Column("p", "p_value"),
                Column("KL, nats a token", "kl"),
                Column("temperature", "effective_temperature"),
            ),
            [
                (
                    words(name),
                    words(one.verdict, kind=f"id-{one.verdict}"),
                    Cell(p_value(one.p), sort=one.p),
                    Cell(f"{one.kl_per_token:.2g}", sort=one.kl_per_token),
                    _temperature(one.temperature),
                )
                for name, one in found.precisions.items()
            ],
        ),
        _numbers(
            "How far each candidate is from the reference",
            (Column("candidate", "candidate", words=True), Column("KL, nats a token", "kl")),
            _ascending(found.candidates),
            "{:.2g}",
        ),
        _numbers(
            "Entropy of the reference's own answers to each prompt",
            (Column("prompt", "prompt", words=True), Column("entropy, nats a token", "entropy")),
            _ascending(found.entropy_by_prompt),
            "{:.3g}",
        ),
    ]
    return facts, [table for table in tables if table.rows]


def logprobs_sentence(report: Report, name: str) -> str | None:
    """What a target's own log-probabilities say beside those of the local weights."""
    found = report.identity[name].logprobs
    if found is None:
        return None
    cost = "at an unknown price" if found.usd is None else f"${found.usd:.2g} at most"
    asked = f"{found.requests} requests, {cost}, beside all other figures"
    left_out = "".join(f"; {n} {why}" for why, n in found.left_out.items())
    if found.mean_difference is None or found.p99_difference is None:
        return f"its own log-probabilities could not be compared ({asked}{left_out})."
    said = (
        f"its own log-probabilities of {found.tokens:,} tokens differ from the local ones by "
        f"{found.mean_difference:.2g} nats on average and {found.p99_difference:.2g} at p99"
    )
    if found.top1 is not None:
        said += f", the likeliest token is the same at {found.top1:.1%}"
    if found.kl_lower_bound is not None:
        said += f", KL is {found.kl_lower_bound:.2g} or more"
    calibration = report.identity_calibration
    own = {} if calibration is None else calibration.precisions
    bands = [
        f"{precision} by {one.logprobs.p99_difference:.2g}"
        for precision, one in own.items()
        if one.logprobs is not None and one.logprobs.p99_difference is not None
    ]
    beside = f" Locally, {' and '.join(bands)} at p99." if bands else ""
    return f"{said} ({asked}{left_out}).{beside}"


def _row(name: str, one: IdentityReport) -> tuple[Cell, ...]:
    kl = one.smallest_detectable_kl
    return (
        words(name),
        words(one.verdict.replace("-", " "), kind=f"id-{one.verdict}"),
        Cell(p_value(one.p), sort=one.p),
        words(one.closest or UNKNOWN),
        _temperature(one.temperature),
        Cell(f"{one.used:,} of {one.calls:,}", sort=one.used),
        Cell(UNKNOWN if kl is None else f"{kl:.2g}", sort=kl),
    )


def _temperature(found: TemperatureReport | None) -> Cell:
    if found is None:
        return words(UNKNOWN)
    low = "below" if found.low is None else f"{found.low:.2f}"
    high = "above" if found.high is None else f"{found.high:.2f}"
    return Cell(f"{found.value:.2f}", (low, high), found.value)


def _evidence(name: str, found: Mapping[str, EvidenceReport]) -> Section:
    columns = (
        Column("test", "test", words=True),
        Column("statistic", "statistic"),
        Column("p", "p_value"),
        Column("p by precision", "p_by_precision", words=True),
        Column("in words", "finding", words=True),
    )
    rows = []
    for key, one in found.items():
        title, statistic = _TESTS.get(key, (key, ""))
        precisions = (f"{which} {p_value(p)}" for which, p in one.p_by_precision.items())
        rows.append(
            (
                words(title),
                Cell(f"{statistic} {one.statistic:.3g}".strip(), sort=one.statistic),
                Cell(p_value(one.p), sort=one.p),
                words(", ".join(precisions)),
                words(one.sentence),
            )
        )
    return Section(f"Evidence on {name}", columns, rows)


def _candidates(name: str, found: Mapping[str, float]) -> Section:
    return _numbers(
        f"Candidates for the model behind {name}",
        (
            Column("candidate", "candidate", words=True),
            Column("log10 likelihood ratio", "likelihood_ratio"),
        ),
        dict(sorted(found.items(), key=lambda item: -item[1])),
        "{:.2f}",
    )


def _ascending(found: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _numbers(
    title: str, columns: tuple[Column, Column], found: Mapping[str, float], form: str
) -> Section:
    """Names and numbers, in the given order."""
    return Section(
        title,
        columns,
        [(words(name), Cell(form.format(value), sort=value)) for name, value in found.items()],
    )


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


def _own_logprobs(report: Report, name: str) -> Iterator[tuple[str, str]]:
    if said := logprobs_sentence(report, name):
        yield "told by itself", said


def _remarks(name: str, one: IdentityReport) -> Iterator[str]:
    if one.wrapped:
        yield f"{name}: the route wraps the prompt in a template, so its answers are another's."
    if one.restored is not None:
        yield f"{name}: leading white space is trimmed there; it was put back."


def _calibration(found: IdentityCalibrationReport) -> Iterator[str]:
    yield (
        f"Held against {found.calls:,} answers of {found.model} in each of "
        f"{', '.join(found.honest)}, {found.entropy:.2f} nats a token; any honest target at all is "
        f"accused with probability {found.alpha:g} at most. KL: the smallest that would have "
        "been found, nats a token."
    )
    flat = [name for name, entropy in found.entropy_by_prompt.items() if entropy < FLAT]
    if flat:
        yield (
            f"{len(flat)} of {found.prompts} prompts have answers that are nearly certain (below "
            f"{FLAT} nats a token): ask open-ended ones with --identity-prompts."
        )
