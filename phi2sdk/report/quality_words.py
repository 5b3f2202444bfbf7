"""How good the answers are, as a table, the same on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from phi2sdk.report.money_words import Section
from phi2sdk.report.schema import Report
from phi2sdk.report.schema_base import Interval
from phi2sdk.report.schema_quality import LikenessReport, QualityReport
from phi2sdk.report.words import UNKNOWN

__all__ = ["sections"]

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
            *(_likeness(getattr(found, key)) for key in shown),
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


def _likeness(found: LikenessReport | None) -> str:
    if found is None:
        return UNKNOWN
    beyond = "" if found.above_chance is None else f" [{found.above_chance:.2f}]"
    return f"{found.value.value:.2f}{beyond}"


def _percent(found: Interval | None) -> str:
    return UNKNOWN if found is None else f"{found.value:.0%}"
