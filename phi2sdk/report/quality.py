"""Quality of the answers if it can be measured: the numbers and their table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from phi2sdk.analysis.quality import quality
from phi2sdk.analysis.text_similarity import load_encoder
from phi2sdk.prompts import summarize
from phi2sdk.report.format import grouped
from phi2sdk.report.measured import Measured
from phi2sdk.report.schema import Interval, LikenessReport, QualityReport, Report
from phi2sdk.report.section import (
    Cell,
    Measure,
    Section,
    number,
    rate,
    score,
    target_column,
    words,
)


def quality_reports(measured: Measured) -> dict[str, QualityReport]:
    """Return the quality of each target's answers; targets without any measure are omitted.

    Only summaries have a source: the paragraph to summarize.

    Raises:
        ConfigurationError: The quality model does not exist.
    """
    run, model = measured.run, measured.analysis.quality_model
    references = run.configuration.get("references", {})
    summaries = run.configuration["task"] == "summarize"
    sources = _paragraphs(run.configuration["prompts"]) if summaries else {}
    encoder = None if model is None or not references else load_encoder(model)
    found = {}
    for name, records in measured.greedy.items():
        one = quality(
            records, measured.tokenizer, references=references, sources=sources, encoder=encoder
        )
        if one:
            found[name] = QualityReport.model_validate(one, from_attributes=True)
    return found


def _paragraphs(prompts: Mapping[str, str]) -> dict[str, str]:
    """Return the texts without the prompt template, whose words are not a source of names."""
    before, after = summarize("\N{OBJECT REPLACEMENT CHARACTER}").text.split(
        "\N{OBJECT REPLACEMENT CHARACTER}"
    )
    return {id: text.removeprefix(before).removesuffix(after) for id, text in prompts.items()}


_MEASURES = (
    Measure("rouge_l", "ROUGE-L", "rouge_l"),
    Measure("chrf", "chrF", "chrf"),
    Measure("cosine", "cosine similarity", "cosine"),
    Measure("faithful", "faithful facts", "faithful"),
    Measure("unsupported", "unsupported facts (%)", "unsupported"),
    Measure("tokens", "tokens per answer", "answer_tokens"),
    Measure("length_ratio", "length ratio", "length_ratio"),
    Measure("past_first_sentence", "after first sentence (%)", "past_first_sentence"),
)
_DIGITS = {"tokens": 0, "length_ratio": 2}


def sections(report: Report) -> Iterator[Section]:
    """Yield one table of the measures that are known for some target."""
    known = {n: t.quality for n, t in report.targets.items() if t.quality is not None}
    shown = [m for m in _MEASURES if any(getattr(q, m.key) is not None for q in known.values())]
    if not shown:
        return
    yield Section(
        "Quality of the answers",
        (target_column(), *(m.column for m in shown)),
        [(words(name), *(_cell(found, m.key) for m in shown)) for name, found in known.items()],
        list(_lines(known.values(), shown)),
    )


def _cell(found: QualityReport, key: str) -> Cell:
    value: LikenessReport | Interval | None = getattr(found, key)
    if isinstance(value, LikenessReport):
        chance = "unknown" if value.baseline is None else f"{value.baseline:.3f}"
        return replace(score(value.value), below=f"chance {chance}")
    if key in _DIGITS:
        return number(value, _DIGITS[key])
    return rate(value)


def _lines(known: Iterable[QualityReport], shown: Sequence[Measure]) -> Iterator[str]:
    if any(m.key in ("rouge_l", "chrf", "cosine") for m in shown):
        yield (
            '"Chance" is the similarity to the reference texts of other prompts. Similar content '
            "is not evidence of the same model."
        )
    yield from (m.meaning for m in shown)
    titles = {m.key: m.title for m in _MEASURES}
    reasons = {titles.get(key, key): why for found in known for key, why in found.unknown.items()}
    yield from (f"Not measured: {names}, because {why}." for names, why in grouped(reasons))
