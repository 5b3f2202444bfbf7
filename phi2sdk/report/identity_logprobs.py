"""The log-probabilities that endpoints return, in sentences."""

from __future__ import annotations

from phi2sdk.report.format import p_value
from phi2sdk.report.identity_sentences import candidate_name, listed
from phi2sdk.report.schema import LogprobsReport, Report

__all__ = ["logprobs_sentence"]

SIZE = "size"
"""The question of the test that concerns no candidate."""


def logprobs_sentence(report: Report, name: str) -> str | None:
    """Return what a target's own log-probabilities show, and how they were compared."""
    found = report.identity[name].logprobs
    if found is None:
        return None
    cost = "at an unknown cost" if found.usd is None else f"at a cost of ${found.usd:.2g} or less"
    asked = f"{found.requests} requests {cost}, which no other figure includes"
    left_out = "".join(f"; {n} {why}" for why, n in found.left_out.items())
    if found.mean_difference is None or found.p99_difference is None:
        return f"the log-probabilities of the endpoint could not be compared ({asked}{left_out})."
    said = (
        f"the endpoint's log-probabilities of {found.tokens:,} tokens differ from the local ones "
        f"by {found.mean_difference:.2g} nats on average and {found.p99_difference:.2g} at p99"
    )
    if found.top1 is not None:
        said += f", the most likely token is the same in {found.top1:.1%} of the places"
    if found.kl_lower_bound is not None:
        said += f", and their KL divergence is {found.kl_lower_bound:.2g} nats per token or more"
    calibration = report.identity_calibration
    own = {} if calibration is None else calibration.precisions
    bands = [
        f"{precision} by {one.logprobs.p99_difference:.2g}"
        for precision, one in own.items()
        if one.logprobs is not None and one.logprobs.p99_difference is not None
    ]
    beside = f" The local weights differ in {' and '.join(bands)} at p99." if bands else ""
    verdict = _verdict(found)
    return f"{said} ({asked}{left_out}).{beside}{f' {verdict}' if verdict else ''}"


def _verdict(found: LogprobsReport) -> str | None:
    """The verdict of the test in sentences; ``None`` where nothing was tested."""
    if found.verdict is None or found.size is None:
        return None
    patterns = listed([candidate_name(name) for name in found.shares], "or")
    if found.verdict == "consistent":
        said = (
            f"They are consistent with the reference weights (p = {p_value(found.p_consistent)} "
            f"for a larger deviation): their size is {found.size:.1f} times that of "
            f"{_precision(found)}"
        )
        return (
            f"{said}, and they do not contain the pattern of {patterns}."
            if patterns
            else f"{said}."
        )
    if found.verdict == "undetermined":
        return (
            f"Whether they are those of the reference weights is undetermined with {found.answers} "
            "texts. Request more texts with --logprobs."
        )
    if found.named is not None:
        return (
            f"They are those of {candidate_name(found.named)} (p = "
            f"{p_value(found.p_by_question[found.named])}): they contain "
            f"{found.shares[found.named]:.0%} of its pattern, and the rest is as small as the "
            "differences of the reference weights."
        )
    return (
        f"They are not those of the reference weights (p = {p_value(found.p)}): their size is "
        f"{found.size:.1f} times that of {_precision(found)}, and no candidate explains them."
    )


def _precision(found: LogprobsReport) -> str:
    return "the rounding errors" if found.precision == "reference" else str(found.precision)
