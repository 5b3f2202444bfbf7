"""Runs for the tests of the page: one with every kind of result, a hostile one, and large ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from phi2sdk.completion import Attempt
from phi2sdk.measure.folder import Run
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.build import build_from
from phi2sdk.report.html.page import html_page
from phi2sdk.report.measured import Measured
from phi2sdk.report.options import Analysis
from phi2sdk.report.requirements import Requirement
from phi2sdk.report.schema import (
    EvidenceReport,
    IdentityCalibrationReport,
    IdentityReport,
    PrecisionReport,
    Report,
    TemperatureReport,
)
from tests.measure.making import MS, answer, failure
from tests.report.making import run_of

__all__ = [
    "EVERYTHING",
    "HOSTILE",
    "examined_as",
    "hostile_run",
    "large_run",
    "page_of",
    "varied_run",
    "write_page",
]

HOSTILE = (
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "</script><script>window.hacked=1</script>",
    "<!--<script>",
    '"><svg onload=window.hacked=1>',
    "[x](javascript:window.hacked=1)",
    "javascript:window.hacked=1",
    "{{ 7 * 7 }}{% raw %}${7*7}",
    "\x1b[31mred\x1b]0;title\x07",
    "left \u202e\u2066right\u2069 \u200b\ufeff",
    '=HYPERLINK("http://x")',
    "&lt;b&gt; &amp; '\"`",
    "nul \x00 bell \x07 line\u2028separator",
    "</style><style>body{display:none}</style>",
    "half \ud800 of a pair",
)
"""Texts that have an effect if a page does not treat them as plain text."""

_SENTENCE = "tides follow the moon and sun rise twice a day where deep seas meet narrow coasts"
_WORDS = _SENTENCE.split()
_PRICES = {
    "hourly": {
        "parts": [{"model": "hourly", "usd": 3.6, "source": "a page", "date": "2026-11-01"}]
    },
    "cheap": {
        "parts": [
            {"model": "per-token", "input": 1, "output": 2, "source": "b", "date": "2026-11-01"}
        ]
    },
}


def varied_run(prompts: int = 80) -> Run:
    """Return a run of five targets; one differs and retries, one does not stream, one is broken.

    ``hourly`` and ``cheap`` have prices, ``cheap`` is simulated, the cost of the others is unknown.
    """
    chance = random.Random(1)
    records: list[Record] = []
    for number in range(prompts):
        id = f"p{number:03}"
        text = " ".join(chance.choices(_WORDS, k=14)).capitalize() + "."
        for name, slow in (("local", 1.0), ("hourly", 2.0), ("cheap", 3.0), ("batch", 4.0)):
            for repetition in range(2):
                records.append(
                    _answer(id, name, repetition, text, slow * chance.uniform(0.8, 1.3), chance)
                )
        records.append(_failing(id, number))
    return run_of(
        sorted(records, key=lambda record: record.t_scheduled_ns),
        prices=_PRICES,
        simulated=["cheap"],
        reference="local",
        repetitions=2,
    )


def _answer(
    id: str, name: str, repetition: int, text: str, slow: float, chance: random.Random
) -> Record:
    own = text
    if name == "hourly" and int(id[1:]) % 8 == 3:
        own = text.replace(" ", " very ", 3)
    if name == "cheap" and int(id[1:]) % 20 == 7 and repetition:
        own = f"{text} Again."
    begin = int(id[1:]) * 1000 + repetition * 400 + 100 * slow
    ends = (begin + 20 * slow, begin + 45 * slow, begin + 90 * slow)
    made = answer(
        id,
        target=name,
        repetition=repetition,
        text=own,
        raw=f" {own}\nInstruct: more",
        scheduled_ms=begin,
        send_ms=begin + 0.1,
        chunks_ms=ends[-1:] if name == "batch" else ends,
        streamed=name != "batch",
    )
    if name == "hourly" and id == "p005" and not repetition:
        again = Attempt(name, made.t_send_ns or 0, made.t_close_ns, "Overloaded", 503, wait=0.25)
        made = replace(made, attempts=(again, *made.attempts))
    return made


def _failing(id: str, number: int) -> Record:
    if number % 3 == 0:
        made = failure(id, target="broken", outcome="timeout", error="Timeout", at_ms=number * 1000)
        return replace(made, t_scheduled_ns=number * 1000 * MS, t_send_ns=number * 1000 * MS)
    return answer(
        id,
        target="broken",
        text="Something else.",
        scheduled_ms=number * 1000,
        send_ms=number * 1000,
        chunks_ms=(number * 1000 + 500, number * 1000 + 900),
    )


def hostile_run() -> Run:
    """Return a run with every payload in prompts, ids, answers, errors, names and settings."""
    records: list[Record] = []
    for number, payload in enumerate(HOSTILE):
        id = f"{number} {payload}"
        told = {"finish_reason": payload, "model": payload, "request_id": payload}
        records.append(replace(answer(id, target="a", text=payload, raw=f"{payload} tail"), **told))  # type: ignore[arg-type]
        other = answer(id, target="b", text=f"other {payload}", raw=payload)
        records.append(replace(other, route=payload, **told))  # type: ignore[arg-type]
        broken = failure(id, target="c", error="BadResponse")
        records.append(replace(broken, message=payload, error=f"Bad{number}{payload}"))
    run = run_of(records)
    configuration: dict[str, Any] = dict(run.configuration)
    everything = " ".join(HOSTILE)
    configuration |= {
        "input": everything,
        "template": everything,
        "tokenizer": everything,
        "prompts": {id: f"{id} {everything}" for id in run.prompts},
        "targets": {
            name: described | {"settings": {"model": everything, everything: [everything]}}
            for name, described in configuration["targets"].items()
        },
    }
    info: dict[str, Any] = dict(run.info)
    info |= {"configuration": configuration, "machine": {everything: everything, "cpus": None}}
    info["versions"] = {"phi2sdk": "0.1.0", everything: everything}
    return Run(info, run.recorded)


def large_run(prompts: int = 2000, targets: int = 5, repetitions: int = 2) -> Run:
    """Return as many records as a large run has."""
    return run_of(
        list(_many(prompts, targets, repetitions)), load="closed", repetitions=repetitions
    )


def _many(prompts: int, targets: int, repetitions: int) -> Iterator[Record]:
    chance = random.Random(0)
    now = 0.0
    for number in range(prompts):
        text = " ".join(chance.choices(_WORDS, k=50)).capitalize() + "."
        for repetition in range(repetitions):
            for target in range(targets):
                now += 5
                own = text.replace("moon", "tide", 1) if target and not number % 4 else text
                yield answer(
                    f"p{number}",
                    target=f"target_{target}",
                    repetition=repetition,
                    text=own,
                    scheduled_ms=now,
                    send_ms=now,
                    chunks_ms=(now + 40 * chance.uniform(1, 2), now + 400 * chance.uniform(1, 2)),
                )


def page_of(run: Run, analysis: Analysis | None = None, **changes: Any) -> tuple[Report, str]:
    """Return the report of a run and its page; ``changes`` replace parts of the report."""
    measured = Measured.of(run, estimating_tokenizer(), analysis)
    report = build_from(measured).model_copy(update=changes)
    return report, html_page(report, measured)


def write_page(folder: Path, run: Run, analysis: Analysis | None = None, **changes: Any) -> Path:
    """Write ``report.html`` of a run."""
    path = folder / "report.html"
    path.write_text(page_of(run, analysis, **changes)[1], encoding="utf-8")
    return path


EVERYTHING = Analysis(
    volume=5000,
    baseline="gpt-4",
    slo={"e2e": 0.5},
    requirements=(
        Requirement.parse("targets.cheap.latency.e2e.p95 < 2"),
        Requirement.parse("targets.broken.errors.error <= 0"),
        Requirement.parse("targets.hourly.latency.e2e.p50 < 0.01"),
    ),
)
"""Options that use every part of the report."""


def examined_as(reference: str, other: str) -> dict[str, Any]:
    """Return parts of a report in which ``other`` is a different model from ``reference``."""
    identity = {
        reference: IdentityReport(verdict="reference", sentence="The reference."),
        other: IdentityReport(
            verdict="different",
            sentence=f"{other}: not the model. <b>",
            evidence={
                "score": EvidenceReport(
                    p=1e-9, p_by_precision={"float32": 1e-9}, statistic=6.1, sentence="too likely"
                )
            },
            calls=100,
            used=98,
            left_out={"empty": 2},
            temperature=TemperatureReport(value=0.8, low=0.78, high=0.83),
            candidates={"T=0.8": 7.8, "other:<script>": -3.0},
            power_by_candidate={"int4": 0.97, "other:<script>": 0.2},
            share=0.25,
            usd=0.01,
        ),
    }
    calibration = IdentityCalibrationReport(
        model="<model>",
        honest=("float32", "bfloat16"),
        alpha=0.05,
        prompts=2,
        calls=50,
        tokens=2000,
        entropy=1.5,
        entropy_by_prompt={"<p>": 0.1, "q": 2.9},
        candidates={"int4": 0.02},
        precisions={"bfloat16": PrecisionReport(kl_per_token=0.0001, verdict="consistent", p=0.4)},
    )
    return {"identity": identity, "identity_calibration": calibration}
