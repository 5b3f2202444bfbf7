"""The identity of the models in ``report.json``: the results in ``identity.json``, in sentences.

No weights are needed to build the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from phi2sdk.analysis.cost import spend_of
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import IDENTITY, Run
from phi2sdk.measure.gpu_power import price_of
from phi2sdk.measure.records import Record
from phi2sdk.report.identity_sentences import (
    LEVEL,
    evidence_sentence,
    finding_sentence,
    verdict_sentence,
)
from phi2sdk.report.measured import Measured
from phi2sdk.report.schema import IdentityCalibrationReport, IdentityReport, LogprobsReport

__all__ = ["identity_reports"]

HOW = (
    "the tests need local weights. Name them with --identity-model (a folder, or a hub id that is "
    "in the cache) and install phi2sdk[local]"
)


def identity_reports(
    measured: Measured,
) -> tuple[dict[str, IdentityReport], IdentityCalibrationReport | None]:
    """Return the results of each target, and those of the local weights in the same tests.

    They are empty and ``None`` where the run has no sampled answers.

    Raises:
        ConfigurationError: ``identity.json`` is damaged.
    """
    run = measured.run
    if not run.identity_prompts:
        return {}, None
    document, why = _document(run, measured.sampled)
    try:
        own = IdentityCalibrationReport(**document["calibration"]) if why is None else None
        found = {}
        for name in measured.targets:
            asked = {"logprobs": _logprobs(run, name, document if why is None else {})}
            plain = document["targets"][name] if why is None else _untested(name, str(why))
            one = IdentityReport(**{**_current(plain), **asked, "usd": _usd(measured, name)})
            found[name] = one if own is None else _in_words(name, one, own)
    except (KeyError, TypeError, ValidationError) as error:
        raise ConfigurationError(f"{IDENTITY} is damaged: examine the run again") from error
    return found, own


def _current(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The results of a target, without what older versions claimed beyond them.

    Older versions did not adjust the p-value of a test for the other tests.
    """
    evidence = {n: {"sentence": "", **one} for n, one in plain.get("evidence", {}).items()}
    if evidence and "p_target" not in plain:
        for one in evidence.values():
            one["p"] = min(1.0, one["p"] * len(evidence))
        plain = {**plain, "p_target": min(one["p"] for one in evidence.values())}
    findings = {n: {"sentence": "", **one} for n, one in plain.get("findings", {}).items()}
    found = {"sentence": "", **plain, "evidence": evidence, "findings": findings}
    found["smallest_detectable_kl"] = None
    by_candidate = [evidence[n]["p"] for n in ("line-up", "routing") if n in evidence]
    scored = plain.get("logprobs") or {}
    rejects = scored.get("named") or (by_candidate and min(by_candidate) <= LEVEL)
    if plain["verdict"] != "different" or not rejects:
        found |= {"closest": None, "share": None}
    return found


def _in_words(name: str, one: IdentityReport, own: IdentityCalibrationReport) -> IdentityReport:
    """The same results with their sentences."""
    evidence = {
        test: found.model_copy(update={"sentence": evidence_sentence(test, found, one)})
        for test, found in one.evidence.items()
    }
    findings = {
        subject: found.model_copy(update={"sentence": finding_sentence(name, subject, found)})
        for subject, found in one.findings.items()
    }
    sentence = verdict_sentence(name, one, own)
    said = {"evidence": evidence, "findings": findings, "sentence": sentence}
    return one.model_copy(update=said)


def _document(
    run: Run, sampled: Mapping[str, Sequence[Record]]
) -> tuple[Mapping[str, Any], str | None]:
    """``identity.json``, and why it does not apply to the run in its present state."""
    found = run.identity
    if "unavailable" in found:
        return found, str(found["unavailable"])
    if "targets" not in found:
        return found, HOW
    if found.get("records") != sum(map(len, sampled.values())):
        return found, (
            "answers were recorded after the tests. Repeat the command with --resume to test all "
            "of them"
        )
    return found, None


def _untested(name: str, why: str) -> dict[str, Any]:
    return {"verdict": "not-tested", "sentence": f"{name} was not tested: {why}."}


def _logprobs(run: Run, name: str, document: Mapping[str, Any]) -> LogprobsReport | None:
    """The requests for log-probabilities, with figures if weights were available since."""
    mine = [one for one in run.told if one.target == name]
    if not mine:
        return None
    costs = [one.usd for one in mine if one.usd is not None]
    current = document.get("told") == len(run.told)
    figures = document["targets"][name].get("logprobs", {}) if current else {}
    usd = sum(costs) if len(costs) == len(mine) else None
    return LogprobsReport(**figures, requests=len(mine), usd=usd)


def _usd(measured: Measured, name: str) -> float | None:
    """The cost of a target's sampled answers in US dollars; ``None`` without a price."""
    records = measured.sampled[name]
    price = price_of(measured.run, name, records)
    if price is None or not records:
        return None
    texts = measured.run.identity_prompts.__getitem__
    spend = spend_of(price, records, texts, measured.tokenizer)
    return None if spend is None else float(spend.usd.sum())
