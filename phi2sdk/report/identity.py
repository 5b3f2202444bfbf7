"""What ``identity.json`` says, as the report has it. Needs no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import IDENTITY, Run
from phi2sdk.measure.power import price_of
from phi2sdk.measure.records import Record
from phi2sdk.measure.spend import spend_of
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.report.schema import Report
from phi2sdk.report.schema_identity import IdentityCalibrationReport, IdentityReport, LogprobsReport

__all__ = ["with_identity"]

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
