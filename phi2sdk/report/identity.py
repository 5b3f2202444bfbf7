"""The identity of the models in lines, facts and tables of the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from phi2sdk.measure.tokens import model_label
from phi2sdk.report.format import UNKNOWN, p_value
from phi2sdk.report.identity_logprobs import logprobs_sentence
from phi2sdk.report.identity_sentences import (
    difference_sentence,
    excludes,
    general_power_sentence,
    listed,
    power_sentence,
    temperature_text,
)
from phi2sdk.report.schema import (
    EvidenceReport,
    IdentityCalibrationReport,
    IdentityReport,
    Report,
    TemperatureReport,
)
from phi2sdk.report.section import Cell, Column, Facts, Section, target_column, words

__all__ = [
    "Examined",
    "calibration",
    "examined",
    "notes",
    "power_lines",
    "sections",
    "verdicts_table",
]

FLAT = 0.2
"""Nats per token: answers with less entropy carry almost no information about the model."""

_TESTS = {
    "score": ("score test", "Z"),
    "line-up": ("line-up of candidates", "log e"),
    "routing": ("routing of some calls", "log e"),
    "mmd": ("comparison of texts (MMD)", "MMD²"),
    "bigrams": ("word pairs", "Z"),
    "tokens": ("token frequencies", "Z"),
}
"""Name and statistic of each test, by its key in the report."""


@dataclass(frozen=True, slots=True)
class Examined:
    """The verdict on a target, and the results behind it.

    Attributes:
        name: The target.
        verdict: The verdict, as in the report.
        sentence: The verdict in sentences.
        evidence: The result of each test; ``None`` where nothing was tested.
        facts: Further numbers.
        candidates: log10 of the likelihood ratio of each candidate to the reference.
    """

    name: str
    verdict: str
    sentence: str
    evidence: Section | None
    facts: Facts
    candidates: Section | None


def notes(report: Report) -> list[str]:
    """Return a sentence for each target that is different, and for each finding of the others."""
    different = {n: one for n, one in report.identity.items() if one.verdict == "different"}
    others = [one for name, one in report.identity.items() if name not in different]
    said = [difference_sentence(name, one) for name, one in different.items()]
    return said + [finding.sentence for one in others for finding in one.findings.values()]


def sections(report: Report) -> Iterator[Section]:
    """Yield the verdicts; nothing where the run has no sampled answers."""
    if not report.identity:
        return
    tested = {n: one for n, one in report.identity.items() if one.verdict != "not-tested"}
    lines = [one.sentence for one in report.identity.values()]
    reasons = {line.partition(": ")[2] for line in lines}
    if not tested and len(reasons) == 1:
        lines = [f"No target was tested: {reasons.pop()}"]
    lines += power_lines(tested.values())
    for name, one in tested.items():
        lines += _remarks(name, one)
    lines += [f"{n}: {said}" for n in report.identity if (said := logprobs_sentence(report, n))]
    if report.identity_calibration is not None:
        lines += _calibration(report.identity_calibration)
    yield verdicts_table(report, tested, lines)


def power_lines(found: Iterable[IdentityReport]) -> Iterator[str]:
    """Yield what the tests of all these targets would have detected; the least power counts."""
    known = [one for one in found if one.power_by_candidate]
    if not known:
        return
    said = (
        power_sentence(min(one.used for one in known), _least(o.power_by_candidate for o in known)),
        general_power_sentence(_least(one.power_of_score_test for one in known)),
    )
    yield from (sentence for sentence in said if sentence)


def _least(found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The smallest value of each key that all mappings have."""
    known = list(found)
    shared = [key for key in known[0] if all(key in one for one in known)] if known else []
    return {key: min(one[key] for one in known) for key in shared}


def verdicts_table(
    report: Report, shown: Mapping[str, IdentityReport] | None = None, lines: Sequence[str] = ()
) -> Section:
    """Return the verdicts in a table, different targets first where all are shown."""
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
            Column("int4 power", "power"),
        ),
        [_row(name, one) for name, one in (found if shown is None else shown).items()],
        lines,
    )


def examined(report: Report) -> list[Examined]:
    """Return the results of every target, different targets first."""
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
    """Return facts and tables on the local weights in the same tests; empty without results."""
    if found is None:
        return [], []
    facts = [
        ("model", found.model),
        ("precisions that count as the same model", ", ".join(found.honest)),
        (
            "false alarms",
            f"any unmodified target is rejected with probability {found.alpha:g} or less",
        ),
        ("answers", f"{found.calls:,} answers to {found.prompts:,} prompts in each precision"),
        ("tokens", f"{found.tokens:,}"),
        ("entropy", f"{found.entropy:.3g} nats per token; near 0 the tests have no power"),
    ]
    tables = [
        Section(
            "The local weights in each precision that counts as the same model",
            (
                Column("precision", "precision", words=True),
                Column("verdict", "same_model", words=True),
                Column("p", "p_value"),
                Column("KL, nats per token", "kl"),
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
            (Column("candidate", "candidate", words=True), Column("KL, nats per token", "kl")),
            _ascending(found.candidates),
            "{:.2g}",
        ),
        _numbers(
            "Entropy of the reference's own answers to each prompt",
            (Column("prompt", "prompt", words=True), Column("entropy, nats per token", "entropy")),
            _ascending(found.entropy_by_prompt),
            "{:.3g}",
        ),
    ]
    return facts, [table for table in tables if table.rows]


def _row(name: str, one: IdentityReport) -> tuple[Cell, ...]:
    power = one.power_by_candidate.get("int4")
    return (
        words(name),
        words(one.verdict.replace("-", " "), kind=f"id-{one.verdict}"),
        Cell(p_value(one.p), sort=one.p),
        words(one.closest or UNKNOWN),
        _temperature(one.temperature),
        Cell(f"{one.used:,} of {one.calls:,}", sort=one.used),
        Cell(UNKNOWN if power is None else f"{power:.2f}", sort=power),
    )


def _temperature(found: TemperatureReport | None) -> Cell:
    if found is None:
        return words(UNKNOWN)
    low = "below" if found.low is None else f"{found.low:.2f}"
    high = "above" if found.high is None else f"{found.high:.2f}"
    beyond = "excludes 1" if excludes(found) else ""
    return Cell(f"{found.value:.2f}", (low, high), found.value, below=beyond)


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
    if found.share is not None:
        yield "share of the calls", f"about {found.share:.0%} are answered by something else"
    if found.calls:
        yield "tokens scored", f"{found.tokens:,}"
    if found.left_out:
        yield "left out", ", ".join(f"{n:,} {why}" for why, n in found.left_out.items())
    for subject, one in found.findings.items():
        yield subject.replace("-", " "), one.sentence
    if found.counts_differ:
        yield "token counts", f"{found.counts_differ:,} answers differ from the provider's count"
    if found.entropy is not None:
        yield "entropy", f"{found.entropy:.3g} nats per token"
    for line in power_lines([found]):
        yield "power", line
    if found.wrapped:
        yield "prompt", "the route wraps it in a template, so its answers have another prompt"
    if found.restored is not None:
        yield "restored", f"{found.restored!r}, which the provider removes"
    if found.usd is not None:
        yield "cost of the calls", f"${found.usd:.2g}"


def _own_logprobs(report: Report, name: str) -> Iterator[tuple[str, str]]:
    if said := logprobs_sentence(report, name):
        yield "log-probabilities", said


def _remarks(name: str, one: IdentityReport) -> Iterator[str]:
    yield from (found.sentence for found in one.findings.values())
    if one.wrapped:
        yield f"{name} wraps the prompt in a template, so its answers are to another prompt."
    if one.restored is not None:
        yield f"{name} removes leading white space from its answers; the tests restored it."


def _calibration(found: IdentityCalibrationReport) -> Iterator[str]:
    yield (
        f"The tests use {found.calls:,} answers of {model_label(found.model)} in each of "
        f"{listed(found.honest, 'and')} as a control ({found.entropy:.2f} nats per token). The "
        f"probability that any unmodified target is called different is {found.alpha:g} or less."
    )
    for name, one in found.precisions.items():
        if one.temperature is not None and excludes(one.temperature):
            yield (
                f"The effective temperature of the control in {name} is "
                f"{temperature_text(one.temperature)}, which excludes 1. Such an interval excludes "
                "the true temperature for about one unmodified target in 20."
            )
    flat = [name for name, entropy in found.entropy_by_prompt.items() if entropy < FLAT]
    if flat:
        yield (
            f"{len(flat)} of {found.prompts} prompts have almost certain answers (below {FLAT} "
            "nats per token). Ask open-ended prompts with --identity-prompts."
        )
