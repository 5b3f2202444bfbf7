"""The parts about greedy answers, as the report has them, with what they come to in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from pydantic import ValidationError

from phi2sdk.analysis.agreement import Agreement, pair_up
from phi2sdk.analysis.diagnosis import Cause, Diagnosis, diagnose
from phi2sdk.analysis.regret import TargetRegret
from phi2sdk.analysis.statistics import Estimate
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import IDENTITY, Run
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.parsing import first_mistake
from phi2sdk.report.money_words import Section
from phi2sdk.report.schema import (
    AgreementReport,
    DiagnosisReport,
    Interval,
    RegretReport,
    Report,
    UnexplainedReport,
)
from phi2sdk.report.words import UNKNOWN

__all__ = [
    "agreement_report",
    "interval_report",
    "sections",
    "sentence",
    "with_diagnoses",
]

_HEADLINES: Mapping[Cause, str] = {
    "equal": "answers as the reference does",
    "white space": "white space trimmed",
    "stop kept": "goes on past the stop, which our cut removes",
    "numerics": "ties only: numerics",
    "cut short": "ends before the reference does",
    "runs on": "goes on where the reference ends",
    "empty": "answers with nothing",
    "another template": "another template",
    "beginning": "differs from the first tokens on; local weights would tell why",
    "sampling": "samples, though greedy answers were asked for",
    "another precision": "another precision, or light quantisation",
    "another model": "another model or heavy quantisation",
    "few unexplained": "few answers are unexplained",
    "not scored": "not explained without the weights",
    "mixed": "small causes of several kinds",
}


def agreement_report(found: Agreement) -> AgreementReport:
    """An agreement as the report has it."""
    middle = found.first_divergence
    return AgreementReport(
        prompts=found.prompts,
        missing=found.missing,
        exact_bytes=interval_report(found.exact_bytes),
        exact_normalized=interval_report(found.exact_normalized),
        exact_cut=interval_report(found.exact_cut),
        parted=len(found.divergence.parted) if found.prompts else None,
        first_divergence=middle.value if middle else None,
        first_divergence_low=middle.low if middle else None,
        first_divergence_high=middle.high if middle else None,
        prefix_fraction=interval_report(found.prefix_fraction),
        edit_similarity=interval_report(found.edit_similarity),
    )


def with_diagnoses(
    report: Report,
    run: Run,
    by_target: Mapping[str, Sequence[Record]],
    tokenizer: ReferenceTokenizer,
) -> Report:
    """The report, in which each target says why its answers differ from the reference's.

    Raises:
        ConfigurationError: ``identity.json`` is not what was written there.
    """
    reference = run.configuration.get("reference")
    if reference is None or run.configuration.get("unique_prefix"):
        return report  # other prompts for each repetition: what differs is not one thing
    regrets = _regrets(run)
    own = by_target.get(reference, ())
    targets = {
        name: target
        if target.reference
        else target.model_copy(
            update={"diagnosis": _diagnosis(own, by_target[name], tokenizer, regrets.get(name))}
        )
        for name, target in report.targets.items()
    }
    return report.model_copy(update={"targets": targets})


def _regrets(run: Run) -> dict[str, TargetRegret]:
    try:
        found = run.identity.get("regret", {})
        return {name: TargetRegret.from_json(plain) for name, plain in found.items()}
    except ValidationError as error:
        raise ConfigurationError(
            f"{IDENTITY} is damaged: regret: {first_mistake(error)}. Examine the run again"
        ) from None


def interval_report(estimate: Estimate | None) -> Interval | None:
    """An estimate as the report has it."""
    if estimate is None:
        return None
    return Interval(value=estimate.value, low=estimate.low, high=estimate.high)


def sentence(found: Diagnosis) -> str:
    """What the answers look like, and what they come to.

    ``Ties only: numerics. 12 of 100 answers differ; in 12 the reference was within 0.01 nat of a
    tie.``
    """
    headline = _HEADLINES[found.cause]
    if found.cut_at is not None:
        headline = f"cut at {found.cut_at} tokens"
    elif found.cause == "another template":
        headline = f"another template: {found.template}"
    elif found.cause == "beginning" and found.tie is not None:
        headline = "differs from the first tokens on: another model, or an unknown template"
    headline = headline[0].upper() + headline[1:]
    if not found.differ:
        return f"{headline}: all {found.prompts}."
    said = [f"{found.differ} of {found.prompts} answers differ", *_parts(found)]
    return f"{headline}. {'; '.join(said)}."


def _parts(found: Diagnosis) -> Iterator[str]:
    kinds = found.kinds
    if n := kinds.get("tie", 0):
        yield f"in {n} the reference was within {found.tie:.2g} nat of a tie"
    for kind, words in (
        ("white space", "in white space only"),
        ("past the stop", "past the stop only"),
        ("shorter", "by ending early"),
        ("longer", "by going on"),
        ("empty", "by being empty"),
    ):
        if n := kinds.get(kind, 0):  # type: ignore[call-overload]
            yield f"{n} {words}"
    early = kinds.get("beginning", 0)
    apart = found.tie is None or found.cause in ("another template", "beginning")
    if early and apart:
        yield f"{early} from the first or second token on"
    unclear = kinds.get("unexplained", 0) + (0 if apart else early)
    if unclear and found.tie is None:
        yield f"{unclear} for a reason that needs the weights to be told"
    elif unclear:
        worst = found.unexplained
        where = ""
        if worst is not None:
            which = "" if unclear == 1 else "the worst in "
            where = (
                f": {which}prompt {worst.prompt}, token {worst.token}, "
                f"regret {worst.regret:.2g} nats"
            )
        yield f"{unclear} {'is' if unclear == 1 else 'are'} unexplained{where}"
    if found.varies:
        yield f"{found.varies} prompts got more than one answer"


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


def _diagnosis(
    reference: Sequence[Record],
    own: Sequence[Record],
    tokenizer: ReferenceTokenizer,
    regret: TargetRegret | None,
) -> DiagnosisReport | None:
    found = diagnose(pair_up(reference, own), tokenizer, regret)
    if found is None:
        return None
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


WIDEST = 12
"""So many targets side by side fit into 80 columns."""


def sections(report: Report) -> Iterator[Section]:
    """The matrix, and why each target's answers differ from the reference's."""
    names = list(report.targets)
    if len(names) < 2 or not report.pairs:
        return
    for start in range(0, len(names), WIDEST):
        rows = [
            (f"{row} {name}", *(_cell(report, name, other) for other in names[start:][:WIDEST]))
            for row, name in enumerate(names, start=1)
        ]
        shown = range(start + 1, min(start + WIDEST, len(names)) + 1)
        yield Section(
            "Equal answers, in % (below the diagonal: edit similarity)",
            ("target", *map(str, shown)),
            rows,
            list(_lines(report)) if start + WIDEST >= len(names) else (),
        )


def _cell(report: Report, row: str, column: str) -> str:
    if row == column:
        own = report.targets[row].self_agreement
        return _percent(own, "exact_cut")
    names = list(report.targets)
    above = names.index(row) < names.index(column)
    pair = report.pairs.get(f"{row}:{column}") or report.pairs.get(f"{column}:{row}")
    return _percent(pair.agreement if pair else None, "exact_cut" if above else "edit_similarity")


def _percent(found: AgreementReport | None, what: str) -> str:
    value = getattr(found, what) if found else None
    if value is None:
        return UNKNOWN
    # Only what is all of it, or nothing of it, reads as such.
    rounded = min(99.0, max(1.0, value.value * 100)) if 0 < value.value < 1 else value.value * 100
    return f"{rounded:.0f}"


def _lines(report: Report) -> Iterator[str]:
    for name, target in report.targets.items():
        if target.diagnosis is not None:
            yield f"{name}: {target.diagnosis.sentence}"
    yield (
        "Diagonal: a target with itself, the ceiling of what it can have in common with others. "
        "Answers are cut at the stop first; edit similarity is in tokens."
    )
