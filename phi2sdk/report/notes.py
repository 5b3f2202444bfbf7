"""The notes of a report: facts that change how to read the decision, the most important first."""

from __future__ import annotations

from collections.abc import Iterator

from phi2sdk.report import identity
from phi2sdk.report.format import listed, percent, times
from phi2sdk.report.requirements import requirement_line
from phi2sdk.report.schema import ChoiceReport, Interval, Report

ON_SCREEN = 5
"""The number of notes that a terminal shows."""
_REQUIREMENTS = 3
"""The number of failed requirements with a note of their own."""
_EXAMPLE = 80
"""The characters of an error message that a note quotes."""


def notes(report: Report) -> list[str]:
    """Return the notes in the order of their importance."""
    parts = (
        _requirements,
        _baseline,
        _identity,
        _failures,
        _service_levels,
        identity.notes,
        _would_change,
        _setup,
    )
    return [note for part in parts for note in part(report)]


def _requirements(report: Report) -> Iterator[str]:
    failed = [one for one in report.requirements if not one.holds]
    shown = failed if len(failed) <= _REQUIREMENTS else failed[: _REQUIREMENTS - 1]
    for result in shown:
        yield requirement_line(result)
    if len(failed) > len(shown):
        yield f"{len(failed) - len(shown)} more requirements are not met (see report.md)."
    if report.requirements and not failed:
        n = len(report.requirements)
        yield "The requirement is met." if n == 1 else f"All {n} requirements are met."


def _baseline(report: Report) -> Iterator[str]:
    found = report.baseline
    if found is None:
        return
    ratios = found.at_volume or found.times_cheaper
    at = f" at {report.volume.per_day:,.0f} per day" if found.at_volume and report.volume else ""
    assumed = "" if found.live else ", assuming equal quality and token counts"
    name = report.decision.winner if report.decision else None
    value = ratios.get(name) if name else None
    if name is not None and value is not None:
        yield f"{name} is {_times(value)} times cheaper than {found.name}{at}{assumed}."
        return
    known = {n: ratio.value for n, ratio in ratios.items() if ratio is not None}
    if known and name is None:
        low, high = min(known.values()), max(known.values())
        yield (
            f"The targets are {times(low)} to {times(high)} times cheaper than {found.name}"
            f"{at}{assumed}."
        )
    elif name != found.name:
        yield f"The cost ratio of {found.name} to {name or 'any target'} is unknown."


def _times(value: Interval) -> str:
    ends = "" if value.low is None or value.high is None else _ends(value.low, value.high)
    return f"{times(value.value)}{ends}"


def _ends(low: float, high: float) -> str:
    return f" [{times(low)}, {times(high)}]"


def _identity(report: Report) -> Iterator[str]:
    choices = _eligible(report)
    untested = [name for name, choice in choices.items() if choice.identity == "not-tested"]
    if untested and not report.identity:
        yield (
            "The run did not test whether the targets serve the same model; --identity in a new "
            "run does."
        )
    elif untested:
        yield f"It was not tested whether {listed(untested)} serve the same model as the reference."
    unsure = [name for name, choice in choices.items() if choice.identity == "undetermined"]
    if unsure:
        yield f"The identity tests of {listed(unsure)} did not reach a result; use more calls."


def _failures(report: Report) -> Iterator[str]:
    failed = []
    for name, target in report.targets.items():
        errors = target.errors
        if errors.ok < errors.attempted:
            kind = max(errors.kinds, key=errors.kinds.__getitem__, default=None)
            why = "empty answer" if kind is None else f"{kind}: {errors.examples.get(kind, '')}"
            short = why if len(why) <= _EXAMPLE else f"{why[:_EXAMPLE]}..."
            failed.append(f"{name} {errors.attempted - errors.ok} of {errors.attempted} ({short})")
    if failed:
        more = f" and {len(failed) - 2} more targets" if len(failed) > 2 else ""
        yield f"Failed requests: {', '.join(failed[:2])}{more}."


def _would_change(report: Report) -> Iterator[str]:
    if report.decision is not None:
        yield from report.decision.would_change


def _service_levels(report: Report) -> Iterator[str]:
    name = report.decision.winner if report.decision else None
    goodput = report.targets[name].goodput if name else None
    if goodput is not None:
        levels = ", ".join(f"{metric} <= {limit:g} s" for metric, limit in goodput.slo.items())
        share = percent(goodput.fraction.value)
        yield f"{name} met the service levels ({levels}) in {share} of its requests."


def _setup(report: Report) -> Iterator[str]:
    wrapped = [name for name, target in report.targets.items() if target.wrapped]
    if wrapped:
        yield (
            f"The route of {listed(wrapped)} adds a prompt template, so its answers are to "
            "another prompt."
        )
    if report.run.tokenizer_estimated:
        yield (
            "Token counts are estimates, because no tokenizer was found; --tokenizer FILE counts "
            "them."
        )
    if report.run.unique_prefix:
        yield "Each repetition had a unique prefix, so repetitions are not compared."


def _eligible(report: Report) -> dict[str, ChoiceReport]:
    decision = report.decision
    if decision is None:
        return {}
    return {
        name: choice
        for name, choice in decision.choices.items()
        if choice.identity != "different" and not choice.fails and choice.too_few is None
    }
