"""Agreement of greedy answers: the numbers, the causes of differences, and the tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import median

from pydantic import ValidationError

from phi2sdk.analysis.agreement import Agreement, Pairing, agreement
from phi2sdk.analysis.diagnosis import Cause, Diagnosis, diagnose
from phi2sdk.analysis.regret import TargetRegret
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import IDENTITY, Run
from phi2sdk.measure.records import Record
from phi2sdk.parsing import first_mistake
from phi2sdk.report.format import UNKNOWN, percent
from phi2sdk.report.measured import Measured
from phi2sdk.report.schema import (
    AgreementReport,
    DiagnosisReport,
    Interval,
    RegretReport,
    Report,
    UnexplainedReport,
)
from phi2sdk.report.section import (
    Cell,
    Column,
    Facts,
    Measure,
    Section,
    rate,
    score,
    target_column,
    words,
)

_HEADLINES: Mapping[Cause, str] = {
    "equal": "all answers equal those of the reference",
    "white space": "the provider trims white space",
    "stop kept": "answers continue after the stop sequence; the client removes that text",
    "numerics": "answers differ only at ties, because of numerical precision",
    "cut short": "answers end before those of the reference",
    "runs on": "answers continue where the reference ends",
    "empty": "answers are empty",
    "another template": "the provider uses another prompt template",
    "beginning": "answers differ from the first tokens; the cause is unknown without local weights",
    "sampling": "the provider samples, although greedy decoding was requested",
    "another precision": "the provider uses another precision or light quantization",
    "another model": "the provider uses another model or heavy quantization",
    "few unexplained": "a few differences are unexplained",
    "not scored": "the cause is unknown without local weights",
    "mixed": "differences have several small causes",
}


def agreement_report(found: Agreement) -> AgreementReport:
    """Return an agreement in the form of the report."""
    middle = found.first_divergence
    return AgreementReport(
        prompts=found.prompts,
        missing=found.missing,
        exact_bytes=Interval.of(found.exact_bytes),
        exact_normalized=Interval.of(found.exact_normalized),
        exact_cut=Interval.of(found.exact_cut),
        parted=len(found.divergence.parted) if found.prompts else None,
        first_divergence=middle.value if middle else None,
        first_divergence_low=middle.low if middle else None,
        first_divergence_high=middle.high if middle else None,
        prefix_fraction=Interval.of(found.prefix_fraction),
        edit_similarity=Interval.of(found.edit_similarity),
    )


def self_agreement(measured: Measured, name: str) -> AgreementReport | None:
    """Return the agreement of each later repetition of a target with its first repetition.

    Returns ``None`` if nothing was repeated, or each repetition had another prompt.
    """
    if measured.unique_prefix:
        return None
    records = measured.greedy[name]
    first = {r.key.prompt: r for r in records if r.key.repetition == 0}
    pairs: dict[str, list[tuple[Record, Record]]] = defaultdict(list)
    for record in records:
        mine = first.get(record.key.prompt)
        if record.key.repetition and mine is not None and mine.ok and record.ok:
            pairs[record.key.prompt].append((mine, record))
    if not pairs:
        return None
    return agreement_report(agreement(Pairing(pairs, len(first) - len(pairs)), measured.tokenizer))


def diagnoses(measured: Measured) -> dict[str, DiagnosisReport]:
    """Return why the answers of each target differ from those of the reference.

    Empty if each repetition had another prompt, because then the differences have no common cause.

    Raises:
        ConfigurationError: ``identity.json`` is damaged.
    """
    reference = measured.reference
    if reference is None or measured.unique_prefix:
        return {}
    regrets = _regrets(measured.run)
    found = {}
    for name in measured.targets:
        if name != reference:
            pairing = measured.pairing(reference, name)
            one = diagnose(pairing, measured.tokenizer, regrets.get(name))
            if one is not None:
                found[name] = _diagnosis(one, regrets.get(name))
    return found


def _regrets(run: Run) -> dict[str, TargetRegret]:
    try:
        found = run.identity.get("regret", {})
        return {name: TargetRegret.from_json(plain) for name, plain in found.items()}
    except ValidationError as error:
        raise ConfigurationError(
            f"{IDENTITY} is damaged: regret: {first_mistake(error)}. Repeat the identity tests"
        ) from None


def sentence(found: Diagnosis) -> str:
    """Return the cause of the differences and how often each kind of difference occurs.

    ``Answers differ only at ties, because of numerical precision. 12 of 100 answers differ; in 12
    the reference was within 0.01 nat of a tie.``
    """
    headline = _HEADLINES[found.cause]
    if found.cut_at is not None:
        headline = f"the provider cuts answers at {found.cut_at} tokens"
    elif found.cause == "another template":
        headline = f"the provider uses another prompt template: {found.template}"
    elif found.cause == "beginning" and found.tie is not None:
        headline = "answers differ from the first tokens: another model or an unknown template"
    headline = headline[0].upper() + headline[1:]
    if not found.differ:
        return f"{headline} ({found.prompts} prompts)."
    said = [f"{found.differ} of {found.prompts} answers differ", *_parts(found)]
    return f"{headline}. {'; '.join(said)}."


def _parts(found: Diagnosis) -> Iterator[str]:
    kinds = found.kinds
    if n := kinds.get("tie", 0):
        yield f"in {n} the reference was within {found.tie:.2g} nat of a tie"
    for kind, text in (
        ("white space", "differ only in white space"),
        ("past the stop", "differ only after the stop sequence"),
        ("shorter", "end early"),
        ("longer", "continue longer"),
        ("empty", "are empty"),
    ):
        if n := kinds.get(kind, 0):  # type: ignore[call-overload]
            yield f"{n} {text}"
    early = kinds.get("beginning", 0)
    apart = found.tie is None or found.cause in ("another template", "beginning")
    if early and apart:
        yield f"{early} differ from the first or second token"
    unclear = kinds.get("unexplained", 0) + (0 if apart else early)
    if unclear and found.tie is None:
        yield f"{unclear} cannot be explained without the weights"
    elif unclear:
        worst = found.unexplained
        where = ""
        if worst is not None:
            which = "" if unclear == 1 else "the largest difference is in "
            where = (
                f": {which}prompt {worst.prompt}, token {worst.token}, "
                f"regret {worst.regret:.2g} nats"
            )
        yield f"{unclear} {'is' if unclear == 1 else 'are'} unexplained{where}"
    if found.varies:
        yield f"the answers to {found.varies} prompts vary between repetitions"


def _regret(found: TargetRegret) -> RegretReport:
    at = [fork.regret.at_fork for fork in found.forks if fork.regret.at_fork is not None]
    return RegretReport(
        answers=found.answers,
        tokens=found.tokens,
        off=found.off,
        rate=found.off / found.tokens if found.tokens else None,
        at_divergence=median(at) if at else None,
        maximum=found.maximum,
        tie=found.tie,
    )


def _diagnosis(found: Diagnosis, regret: TargetRegret | None) -> DiagnosisReport:
    worst = found.unexplained
    return DiagnosisReport(
        cause=found.cause,
        sentence=sentence(found),
        prompts=found.prompts,
        differ=found.differ,
        kinds=dict(found.kinds),
        varies=found.varies,
        cut_at=found.cut_at,
        unexplained=UnexplainedReport(prompt=worst.prompt, token=worst.token, regret=worst.regret)
        if worst
        else None,
        regret=_regret(regret) if regret else None,
    )


# -------------------------------------------------------------------------- tables


MEASURES = (
    Measure("exact_cut", "exact match (%)", "exact_match"),
    Measure("exact_bytes", "exact bytes (%)", "exact_bytes"),
    Measure("edit_similarity", "edit similarity", "edit_similarity"),
    Measure("prefix_fraction", "common prefix", "common_prefix"),
    Measure("first_divergence", "first divergence (tokens)", "first_divergence"),
)
WIDEST = 12
"""The number of targets whose columns fit side by side into 80 characters."""


def with_reference(report: Report, name: str) -> AgreementReport | None:
    """Return the agreement of a target with the reference."""
    pair = report.pairs.get(f"{report.run.reference}:{name}")
    return pair.agreement if pair else None


def matrix(report: Report, measure: Measure) -> Section:
    """Return a table of a measure for each pair of targets, with each target's repetitions."""
    names = list(report.targets)
    rows = [
        (words(a), *(_measured(_between(report, a, b), measure.key) for b in names)) for a in names
    ]
    title = f"Agreement: {measure.title}"
    columns = (target_column(), *(Column(name, measure.term) for name in names))
    return Section(title, columns, rows, [measure.meaning])


def sections(report: Report) -> Iterator[Section]:
    """Yield the matrix of exact match and edit similarity, and the causes of differences."""
    names = list(report.targets)
    if len(names) < 2 or not report.pairs:
        return
    for start in range(0, len(names), WIDEST):
        shown = names[start:][:WIDEST]
        rows = [
            (words(f"{row} {name}"), *(_in_short(report, name, other) for other in shown))
            for row, name in enumerate(names, start=1)
        ]
        columns = (Column(str(n + 1), "exact_match") for n in range(start, start + len(shown)))
        yield Section(
            "Agreement between targets: exact match (%), and below the diagonal edit similarity "
            "(%)",
            (target_column(), *columns),
            rows,
            list(_lines(report)) if start + WIDEST >= len(names) else (),
        )


def facts(found: DiagnosisReport) -> Facts:
    """Return the numbers that a diagnosis is based on."""
    said: list[tuple[str, str]] = []
    if found.kinds:
        said.append(("kinds of difference", ", ".join(f"{n} {k}" for k, n in found.kinds.items())))
    if found.varies:
        said.append(("answers vary between repetitions", f"{found.varies} prompts"))
    if (regret := found.regret) is not None:
        said.append(("tokens that are not the most likely", f"{regret.off:,} of {regret.tokens:,}"))
        said.append(
            ("regret", f"at most {regret.maximum:.3g} nats; up to {regret.tie:.2g} is a tie")
        )
    if (worst := found.unexplained) is not None:
        where = f"prompt {worst.prompt}, token {worst.token}: {worst.regret:.3g} nats"
        said.append(("largest unexplained difference", where))
    return said


def _between(report: Report, a: str, b: str) -> AgreementReport | None:
    if a == b:
        return report.targets[a].self_agreement
    pair = report.pairs.get(f"{a}:{b}") or report.pairs.get(f"{b}:{a}")
    return pair.agreement if pair else None


def _in_short(report: Report, row: str, column: str) -> Cell:
    names = list(report.targets)
    key = "exact_cut" if names.index(row) <= names.index(column) else "edit_similarity"
    found = _between(report, row, column)
    value = getattr(found, key) if found else None
    return words(UNKNOWN) if value is None else Cell(percent(value.value).rstrip("%"))


def _measured(found: AgreementReport | None, key: str) -> Cell:
    if key != "first_divergence":
        value = getattr(found, key) if found else None
        return rate(value) if key.startswith("exact") else score(value)
    if found is None or not found.prompts:
        return score(None)
    if found.first_divergence is None:
        return words("none", about="fewer than half of the answers differ")
    low, high = found.first_divergence_low, found.first_divergence_high
    ends = None if low is None else (f"{low:.0f}", "no end" if high is None else f"{high:.0f}")
    return Cell(f"{found.first_divergence:.0f}", ends)


def _lines(report: Report) -> Iterator[str]:
    for name, target in report.targets.items():
        if target.diagnosis is not None:
            yield f"{name}: {target.diagnosis.sentence}"
    yield (
        "The diagonal compares the repetitions of one target, which limits its agreement with "
        "other targets. Answers are cut at the stop sequence before they are compared."
    )
