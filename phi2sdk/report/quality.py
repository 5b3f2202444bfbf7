"""How good the answers are, as the report has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from phi2sdk.measure.folder import Run
from phi2sdk.measure.quality.encoder import load_encoder
from phi2sdk.measure.quality.measure import Likeness, Quality, quality
from phi2sdk.measure.records import Record
from phi2sdk.measure.statistics import Quantile
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.prompts import summarize
from phi2sdk.report.agreement import interval_report
from phi2sdk.report.schema import Report
from phi2sdk.report.schema_base import Interval
from phi2sdk.report.schema_quality import LikenessReport, QualityReport

__all__ = ["with_quality"]


def with_quality(
    report: Report,
    run: Run,
    by_target: Mapping[str, Sequence[Record]],
    tokenizer: ReferenceTokenizer,
    model: str | Path | None = None,
) -> Report:
    """The report, with the quality of each target's answers.

    Only summaries have a source: the paragraph that was to be summarised.

    Args:
        report: The rest of it.
        run: What was asked, with references or without.
        by_target: The records.
        tokenizer: The reference tokenizer.
        model: The folder of a sentence-transformers model.

    Raises:
        ConfigurationError: There is no such model.
    """
    references = run.configuration.get("references", {})
    summaries = run.configuration["task"] == "summarize"
    sources = _paragraphs(run.configuration["prompts"]) if summaries else {}
    encoder = None if model is None or not references else load_encoder(model)
    targets = {}
    for name, target in report.targets.items():
        found = quality(
            by_target.get(name, ()),
            tokenizer,
            references=references,
            sources=sources,
            encoder=encoder,
        )
        targets[name] = target.model_copy(update={"quality": _quality(found) if found else None})
    return report.model_copy(update={"targets": targets})


def _paragraphs(prompts: Mapping[str, str]) -> dict[str, str]:
    """The texts without the template around them, in whose words no summary should find a name."""
    before, after = summarize("\N{OBJECT REPLACEMENT CHARACTER}").text.split(
        "\N{OBJECT REPLACEMENT CHARACTER}"
    )
    return {id: text.removeprefix(before).removesuffix(after) for id, text in prompts.items()}


def _quality(found: Quality) -> QualityReport:
    return QualityReport(
        prompts=found.prompts,
        rouge_l=_likeness(found.rouge_l),
        chrf=_likeness(found.chrf),
        cosine=_likeness(found.cosine),
        faithful=_likeness(found.faithful),
        unsupported=interval_report(found.unsupported),
        tokens=_median(found.tokens),
        length_ratio=_median(found.length_ratio),
        past_first_sentence=interval_report(found.past_first_sentence),
        unknown=dict(found.unknown),
    )


def _likeness(found: Likeness | None) -> LikenessReport | None:
    if found is None:
        return None
    value = interval_report(found.value)
    assert value is not None
    return LikenessReport(
        prompts=found.prompts,
        value=value,
        baseline=found.baseline,
        above_chance=found.above_chance,
    )


def _median(found: Quantile | None) -> Interval | None:
    if found is None or found.value is None:
        return None
    return Interval(value=found.value, low=found.low, high=found.high)
