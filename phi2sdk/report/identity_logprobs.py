"""The log-probabilities that endpoints return, in sentences."""

from __future__ import annotations

from phi2sdk.report.schema import Report

__all__ = ["logprobs_sentence"]


def logprobs_sentence(report: Report, name: str) -> str | None:
    """Return how a target's own log-probabilities differ from those of the local weights."""
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
    return f"{said} ({asked}{left_out}).{beside}"
