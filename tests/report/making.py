"""Runs and reports for tests, without any clock or network."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from phi2sdk.measure.folder import Run
from phi2sdk.measure.journal import Recorded
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.build import build
from phi2sdk.report.measured import Measured
from phi2sdk.report.notebook import ShownReport
from phi2sdk.report.overview import SUBJECTS
from phi2sdk.report.schema import Report
from phi2sdk.report.terminal import print_sections, show


def run_of(
    records: Sequence[Record],
    *,
    load: str = "sequential",
    prices: Mapping[str, Any] | None = None,
    simulated: Sequence[str] = (),
    reference: str | None = None,
    health: Sequence[Mapping[str, Any]] = (),
    repetitions: int | None = None,
) -> Run:
    """A run whose targets and prompts are those of its records."""
    names = list(dict.fromkeys(record.key.target for record in records))
    ids = list(dict.fromkeys(record.key.prompt for record in records))
    counted = repetitions or 1 + max((record.key.repetition for record in records), default=0)
    info = {
        "schema": "phi2sdk.run/1",
        "configuration_hash": "0123456789abcdef",
        "started": "2026-11-20T12:00:00+00:00",
        "versions": {"phi2sdk": "0.1.0"},
        "machine": {"system": "test", "cpus": 2},
        "configuration": {
            "demo": False,
            "task": "summarize",
            "format": "instruct",
            "template": "summarize/1",
            "input": "input.txt",
            "prompts": {id: f"prompt {id}" for id in ids},
            "targets": {
                name: {
                    "backend": "openai",
                    "settings": {},
                    "price": (prices or {}).get(name),
                    "simulated": name in simulated,
                }
                for name in names
            },
            "reference": reference or (names[0] if names else None),
            "load": {
                "kind": load,
                "concurrency": 1,
                "rate": 1.0 if load == "poisson" else None,
            },
            "repetitions": counted,
            "warmup": 1,
            "seed": 0,
            "max_tokens": 64,
            "timeout": 60.0,
            "tokenizer": "estimate",
        },
    }
    done = {record.key: record for record in records}
    return Run(info, Recorded(done=done, sessions=1, health=list(health)))


def measured_of(records: Sequence[Record], **options: Any) -> Measured:
    """Such a run, its records grouped for a report."""
    return Measured.of(run_of(records, **options), estimating_tokenizer())


def report_of(records: Sequence[Record], **options: Any) -> ShownReport:
    """The report of such a run."""
    return build(run_of(records, **options), estimating_tokenizer())


def screen(report: Report, width: int = 80, folder: Path | None = None, *, resume: str = "") -> str:
    """The first screen of a report on a terminal without color."""
    out = io.StringIO()
    show(report, Console(file=out, width=width, color_system=None), folder, resume=resume)
    return out.getvalue()


def shown_sections(report: Report, *subjects: str, width: int = 80) -> str:
    """The sections of some subjects on such a terminal; of all subjects if none is named."""
    out = io.StringIO()
    print_sections(report, subjects or list(SUBJECTS), Console(file=out, width=width))
    return out.getvalue()
