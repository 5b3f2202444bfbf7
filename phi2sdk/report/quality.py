"""How good the answers are, as the report has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from phi2sdk.analysis.quality import Likeness, Quality, quality
from phi2sdk.analysis.statistics import Quantile
from phi2sdk.analysis.text_similarity import load_encoder
from phi2sdk.measure.folder import Run
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.prompts import summarize
from phi2sdk.report.agreement import interval_report
from phi2sdk.report.money_words import Section
from phi2sdk.report.schema import Interval, LikenessReport, QualityReport, Report
from phi2sdk.report.words import UNKNOWN

__all__ = [
    "sections",
    "with_quality",
]


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


_LIKENESSES = {"rouge_l": "ROUGE-L", "chrf": "chrF", "cosine": "cosine", "faithful": "faithful"}


def sections(report: Report) -> Iterator[Section]:
    """One table, of what there is."""
    known = {n: t.quality for n, t in report.targets.items() if t.quality is not None}
    if not known:
        return
    shown = [k for k in _LIKENESSES if any(getattr(q, k) for q in known.values())]
    invented = any(q.unsupported for q in known.values())
    columns = [_LIKENESSES[key] for key in shown]
    rows = [
        (
            name,
            *(_likeness_cell(getattr(found, key)) for key in shown),
            *([_percent(found.unsupported)] if invented else []),
            UNKNOWN if found.tokens is None else f"{found.tokens.value:.0f}",
            _percent(found.past_first_sentence),
        )
        for name, found in known.items()
    ]
    yield Section(
        "Quality of the answers",
        ("target", *columns, *(["invents"] if invented else []), "tokens", "verbose"),
        rows,
        list(_lines(next(iter(known.values())), shown, invented=invented)),
    )


def _lines(found: QualityReport, shown: list[str], *, invented: bool) -> Iterator[str]:
    if shown:
        yield (
            "In brackets what is left of it beyond chance, which is the likeness to other prompts' "
            "references. Closeness of content only: it does not say whether it is the same model."
        )
    if invented:
        yield (
            "faithful: numbers and names of a summary that its source has; invents: answers with "
            "one that it lacks."
        )
    yield "verbose: words behind the first sentence; tokens: the median answer, cut at the stop."
    reasons: dict[str, list[str]] = {}
    for key, why in found.unknown.items():
        reasons.setdefault(why, []).append(_LIKENESSES.get(key, key))
    for why, names in reasons.items():
        yield f"No {', '.join(names)}: {why}."


def _likeness_cell(found: LikenessReport | None) -> str:
    if found is None:
        return UNKNOWN
    beyond = "" if found.above_chance is None else f" [{found.above_chance:.2f}]"
    return f"{found.value.value:.2f}{beyond}"


def _percent(found: Interval | None) -> str:
    return UNKNOWN if found is None else f"{found.value:.0%}"
