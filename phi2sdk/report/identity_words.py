"""The identity section: a table and a sentence for each target, the same in every dress."""

from __future__ import annotations

from collections.abc import Iterator

from phi2sdk.report.money_words import Section
from phi2sdk.report.schema import Report
from phi2sdk.report.schema_identity import IdentityCalibrationReport, IdentityReport
from phi2sdk.report.words import UNKNOWN

__all__ = ["logprobs_sentence", "sections"]

FLAT = 0.2
"""Nats a token: answers below it are nearly certain, and tell nearly nothing."""


def sections(report: Report) -> Iterator[Section]:
    """Nothing where the run has no sampled arm."""
    if not report.identity:
        return
    tested = {n: one for n, one in report.identity.items() if one.verdict != "not-tested"}
    rows = [_row(name, one) for name, one in tested.items()]
    lines = [one.sentence for one in report.identity.values()]
    if len({line.split(": ", 1)[-1] for line in lines}) == 1 and not tested:
        lines = [f"All targets: {lines[0].split(': ', 1)[-1]}"]
    for name, one in tested.items():
        lines += _remarks(name, one)
    lines += [f"{n}: {said}" for n in report.identity if (said := logprobs_sentence(report, n))]
    if report.identity_calibration is not None:
        lines += _calibration(report.identity_calibration)
    columns = ("target", "verdict", "p", "closest", "T [95 %]", "calls", "KL")
    yield Section("Is it the same model? (sampled answers)", columns, rows, lines)


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


def _row(name: str, one: IdentityReport) -> tuple[str, ...]:
    t = one.temperature
    temperature = UNKNOWN
    if t is not None:
        low = "<" if t.low is None else f"{t.low:.2f}"
        high = ">" if t.high is None else f"{t.high:.2f}"
        temperature = f"{t.value:.2f} [{low}, {high}]"
    kl = one.smallest_detectable_kl
    return (
        name,
        one.verdict,
        UNKNOWN if one.p is None else f"{one.p:.2g}",
        one.closest or UNKNOWN,
        temperature,
        f"{one.used}/{one.calls}",
        UNKNOWN if kl is None else f"{kl:.2g}",
    )


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
