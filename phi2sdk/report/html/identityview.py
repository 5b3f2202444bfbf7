"""The evidence on the identity of each target's model, as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phi2sdk.report.schema import Report

__all__ = ["Evidence", "Identity", "identities", "section_of"]

NAMES = {
    "score": "score test",
    "score_test": "score test",
    "lineup": "line-up of candidates",
    "line_up": "line-up of candidates",
    "routing": "routing of some calls",
    "mmd": "MMD, text against text",
    "temperature": "effective temperature",
    "teacher_forced": "teacher-forced comparison",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one instrument found."""

    name: str
    p: str
    sentence: str
    by_precision: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """A target's verdict and what it rests on; ``facts`` are ``(what, value)``."""

    name: str
    verdict: str
    sentence: str
    evidence: Sequence[Evidence] = ()
    facts: Sequence[tuple[str, str]] = ()
    candidates: Mapping[str, float] = field(default_factory=dict)


def section_of(report: Report) -> dict[str, dict[str, Any]]:
    """``identity`` of ``report.json`` as plain data; empty where nobody looked."""
    found = report.model_dump(mode="json", by_alias=True).get("identity")
    return dict(found) if isinstance(found, Mapping) else {}


def identities(report: Report, section: Mapping[str, Mapping[str, Any]]) -> list[Identity]:
    """Every target that was looked at."""
    return [
        Identity(
            name=name,
            verdict=str(found.get("verdict", "not-tested")),
            sentence=str(found.get("sentence", "")),
            evidence=[_evidence(key, one) for key, one in (found.get("evidence") or {}).items()],
            facts=list(_facts(found)),
            candidates={
                str(key): float(value)
                for key, value in (found.get("candidates") or {}).items()
                if isinstance(value, int | float)
            },
        )
        for name, found in section.items()
        if name in report.targets
    ]


def _evidence(key: str, found: Mapping[str, Any]) -> Evidence:
    precisions = found.get("p_by_precision") or {}
    return Evidence(
        name=NAMES.get(key, key.replace("_", " ")),
        p=_p(found.get("p")),
        sentence=str(found.get("sentence") or ""),
        by_precision=", ".join(f"{name} {_p(value)}" for name, value in precisions.items()),
    )


def _facts(found: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    said = []
    if found.get("calls") is not None:
        used = found.get("used")
        of = f"{used} of {found['calls']}" if used is not None else f"{found['calls']}"
        said.append(("calls scored", of))
    if found.get("tokens") is not None:
        said.append(("tokens scored", f"{found['tokens']:,}"))
    left_out = found.get("left_out") or {}
    if left_out:
        said.append(("left out", ", ".join(f"{n} {why}" for why, n in left_out.items())))
    if found.get("entropy") is not None:
        said.append(("entropy", f"{found['entropy']:.3g} nats a token"))
    if isinstance(heat := found.get("temperature"), Mapping) and heat.get("value") is not None:
        low, high = heat.get("low"), heat.get("high")
        ends = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
        said.append(("effective temperature", f"{heat['value']:.2f}{ends}"))
    if found.get("p") is not None:
        said.append(("p, all instruments", _p(found["p"])))
    if found.get("closest"):
        said.append(("closest candidate", str(found["closest"])))
    if found.get("smallest_detectable_kl") is not None:
        kl = f"{found['smallest_detectable_kl']:.2g} nats a token"
        said.append(("smallest detectable KL", kl))
    return said


def _p(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"
