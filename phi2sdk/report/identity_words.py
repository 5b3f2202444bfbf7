"""The identity section: a table and a sentence for each target, the same in every dress."""

from __future__ import annotations

from collections.abc import Iterator

from phi2sdk.report.money_words import Section
from phi2sdk.report.schema import Report
from phi2sdk.report.schema_identity import IdentityCalibrationReport, IdentityReport
from phi2sdk.report.words import UNKNOWN

__all__ = ["sections"]

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
    if report.identity_calibration is not None:
        lines += _calibration(report.identity_calibration)
    columns = ("target", "verdict", "p", "closest", "T [95 %]", "calls", "KL")
    yield Section("Is it the same model? (sampled answers)", columns, rows, lines)


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
