"""Two runs, side by side: what changed, and whether that is more than chance.

Targets of the same name are compared on the prompts that both runs asked, by text. Latencies are
compared as those of two targets are, prompt by prompt, and all p-values are adjusted together;
answers are compared as in :mod:`phi2sdk.analysis.agreement`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from phi2sdk.analysis.agreement import Pairing, agreement, pair_up
from phi2sdk.analysis.metrics import E2E, TTFT, Metric, tpot
from phi2sdk.analysis.paired import PairedRatio, compare_paired, judge_all
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import Run, differences
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.report.agreement import agreement_report
from phi2sdk.report.pairs import by_prompt
from phi2sdk.report.schema import AgreementReport, Part

__all__ = ["Change", "Diff", "TargetDiff", "diff_runs"]


class Change(Part):
    """A latency of run B over that of run A, prompt by prompt; ``significant`` after Holm."""

    metric: str
    a: float | None
    b: float | None
    ratio: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    prompts: int
    verdict: Literal["faster", "slower", "equivalent", "not resolvable", "not shown"]
    significant: bool


class TargetDiff(Part):
    """All that changed about one target."""

    prompts: int
    failed_a: int
    failed_b: int
    changes: tuple[Change, ...]
    agreement: AgreementReport


class Diff(Part):
    """The whole comparison of two runs."""

    schema_: Literal["phi2sdk.diff/1"] = Field(default="phi2sdk.diff/1", alias="schema")
    configuration: tuple[str, ...]
    targets: dict[str, TargetDiff]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()


def diff_runs(a: Run, b: Run, tokenizer: ReferenceTokenizer, *, margin: float = 0.05) -> Diff:
    """Run B against run A.

    Raises:
        ConfigurationError: They have no target, or no prompt, in common.
    """
    names = [n for n in a.configuration["targets"] if n in b.configuration["targets"]]
    if not names:
        raise ConfigurationError("the two runs have no target in common")
    same = _same_prompts(a.configuration["prompts"], b.configuration["prompts"])
    if not same:
        raise ConfigurationError("the two runs have no prompt in common")
    left = {name: _records(a, name, {id: id for id in same}) for name in names}
    right = {name: _records(b, name, {theirs: id for id, theirs in same.items()}) for name in names}
    compared = (TTFT, E2E, tpot(tokenizer))
    ratios: dict[str, PairedRatio] = {}
    for name in names:
        for metric in compared:
            values = [by_prompt(metric, side[name]) for side in (left, right)]
            if all(any(one) for one in (values[0].values(), values[1].values())):
                ratios[f"{name}/{metric.name}"] = compare_paired(*values, margin=margin)
    errors = {key: _error(key, a, b) for key in ratios}
    judged = judge_all(ratios, errors)
    return Diff(
        configuration=tuple(differences(_settings(a.configuration), _settings(b.configuration))),
        targets={
            name: TargetDiff(
                prompts=len(same),
                failed_a=sum(not r.ok for r in left[name]),
                failed_b=sum(not r.ok for r in right[name]),
                changes=tuple(
                    _change(metric, judged[key], left[name], right[name])
                    for metric in compared
                    if (key := f"{name}/{metric.name}") in judged
                ),
                agreement=agreement_report(
                    agreement(_alike(a, b, pair_up(left[name], right[name])), tokenizer)
                ),
            )
            for name in names
        },
        only_a=tuple(n for n in a.configuration["targets"] if n not in names),
        only_b=tuple(n for n in b.configuration["targets"] if n not in names),
    )


def _same_prompts(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, str]:
    """Prompt ids of A to those of B, where the text is the same."""
    by_text = {text: id for id, text in b.items()}
    return {id: by_text[text] for id, text in a.items() if text in by_text}


def _records(run: Run, target: str, ids: Mapping[str, str]) -> list[Record]:
    """A target's greedy records on the shared prompts, under the ids of run A."""
    return [
        replace(record, key=key._replace(prompt=ids[key.prompt]))
        for key, record in run.recorded.done.items()
        if key.target == target and key.arm == "greedy" and key.prompt in ids
    ]


def _alike(a: Run, b: Run, pairing: Pairing) -> Pairing:
    """Without the answers to prompts that a prefix of their own made different."""
    if not any(run.configuration.get("unique_prefix") for run in (a, b)):
        return pairing
    return Pairing({}, pairing.missing + len(pairing.pairs))


def _settings(configuration: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in configuration.items() if name != "prompts"}


def _error(key: str, a: Run, b: Run) -> float | None:
    """The larger error of the harness in the two runs, whatever the wire."""
    metric = "ttft" if key.endswith("/ttft") else "e2e"
    if key.endswith("/tpot"):
        return None
    found = [e[metric]["p99"] for run in (a, b) for e in run.recorded.calibrations]
    return max(found, default=None)


def _change(
    metric: Metric, pair: PairedRatio, left: Sequence[Record], right: Sequence[Record]
) -> Change:
    return Change(
        metric=metric.name,
        a=_median(metric, left),
        b=_median(metric, right),
        ratio=pair.ratio,
        low=pair.low,
        high=pair.high,
        p=pair.p_adjusted,
        prompts=pair.pairs,
        verdict=pair.verdict,
        significant=pair.verdict in ("faster", "slower"),
    )


def _median(metric: Metric, records: Sequence[Record]) -> float | None:
    values = sorted(v for r in records for v in metric.values(r))
    middle = values[(len(values) - 1) // 2] if values else float("inf")
    return None if middle == float("inf") else middle
