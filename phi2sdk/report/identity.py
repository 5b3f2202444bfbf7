"""What ``identity.json`` says, as the report has it. Needs no weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from phi2sdk.analysis.cost import spend_of
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import IDENTITY, Run
from phi2sdk.measure.gpu_power import price_of
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.report.money_words import Section
from phi2sdk.report.schema import IdentityCalibrationReport, IdentityReport, LogprobsReport, Report
from phi2sdk.report.words import UNKNOWN

__all__ = [
    "logprobs_sentence",
    "sections",
    "with_identity",
]

HOW = (
    "local weights are needed: name them with --identity-model (a folder, or a hub id that is in "
    "the cache) and install phi2sdk[local]"
)


def with_identity(
    report: Report,
    run: Run,
    sampled: Mapping[str, Sequence[Record]],
    tokenizer: ReferenceTokenizer,
) -> Report:
    """The report with its identity part; as it is where the run has no sampled arm.

    Args:
        report: Without it.
        run: The run.
        sampled: The records of the sampled arm, by target.
        tokenizer: The reference tokenizer, where a provider does not count.

    Raises:
        ConfigurationError: ``identity.json`` is damaged.
    """
    if not run.identity_prompts:
        return report
    document, why = _document(run, sampled)
    try:
        identity = {
            name: IdentityReport(
                **{
                    **(document["targets"][name] if why is None else _untested(name, why)),
                    "logprobs": _logprobs(run, name, document if why is None else {}),
                    "usd": _usd(run, name, sampled.get(name, ()), tokenizer),
                }
            )
            for name in run.configuration["targets"]
        }
        calibration = IdentityCalibrationReport(**document["calibration"]) if why is None else None
    except (KeyError, TypeError, ValidationError) as error:
        raise ConfigurationError(f"{IDENTITY} is damaged: examine the run again") from error
    return report.model_copy(update={"identity": identity, "identity_calibration": calibration})


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


def _usd(
    run: Run, name: str, records: Sequence[Record], tokenizer: ReferenceTokenizer
) -> float | None:
    price = price_of(run, name, records)
    if price is None or not records:
        return None
    spend = spend_of(price, records, run.identity_prompts.__getitem__, tokenizer)
    return None if spend is None else float(spend.usd.sum())


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
