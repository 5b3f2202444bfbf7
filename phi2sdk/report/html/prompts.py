"""Every prompt with the answers of all targets, and their differences from the reference."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from rapidfuzz.distance import Levenshtein

from phi2sdk.analysis.agreement import common_prefix
from phi2sdk.analysis.metrics import E2E, TTFT
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.report.measured import Measured
from phi2sdk.text import for_terminal

LONGEST = 20_000
"""The largest number of characters of a text in the page; records.jsonl has the whole text."""
REPETITIONS = 4
"""The largest number of repetitions of a prompt and target. Those that differ, failed or were
retried are kept first."""
PAST = 400
"""The largest number of characters shown of the text after the cut."""


def shown(text: str, longest: int = LONGEST) -> str:
    """Return text from outside without control characters and with a limited length."""
    if len(text) <= longest:
        return for_terminal(text)
    return f"{for_terminal(text[:longest])} [... {len(text) - longest:,} more characters]"


def answers_of(measured: Measured) -> dict[str, Any]:
    """Return the prompts for the script: ``{"routes": {target: ...}, "prompts": [...]}``.

    A prompt has ``id``, ``text``, ``answers`` (by target, a list with one entry per repetition) and
    ``more`` (by target, the number of repetitions that are left out). An entry leaves out what is
    as expected:

    - ``outcome`` if it is not ``ok``, with ``error``, ``status``, ``message``;
    - ``same`` if it equals the answer of the reference in this repetition; else ``text``, or
      ``diff`` (segments of a token diff) with ``at``, the length of the common prefix in tokens;
    - ``past``: the text that was received after the cut;
    - ``e2e``, ``ttft`` (s), ``tokens`` (billed), ``finish``, ``id``;
    - ``attempts`` if there were several, and ``waited`` (s) between them;
    - ``route`` if it is not the usual route of the target.
    """
    run, by_target, reference = measured.run, measured.greedy, measured.reference or ""
    usual = {name: _usual(records) for name, records in by_target.items()}
    grouped: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for name, records in by_target.items():
        for record in sorted(records, key=lambda r: r.key.repetition):
            grouped[record.key.prompt][name].append(record)
    different = lru_cache(maxsize=10_000)(partial(_different, measured.tokenizer))
    prompts = []
    for id, text in run.prompts.items():
        answered = grouped.get(id, {})
        originals = {r.key.repetition: r for r in answered.get(reference, ()) if _has_text(r)}
        kept = {name: _informative(found, originals) for name, found in answered.items()}
        more = {n: len(answered[n]) - len(kept[n]) for n in kept if len(answered[n]) > len(kept[n])}
        prompts.append(
            {
                "id": shown(id, 200),
                "text": shown(text),
                "answers": {
                    name: [
                        _entry(r, originals.get(r.key.repetition), usual[name], different)
                        for r in found
                    ]
                    for name, found in kept.items()
                },
                **({"more": more} if more else {}),
            }
        )
    return {
        "routes": {name: shown(route, 200) for name, route in usual.items() if route},
        "prompts": prompts,
    }


def _informative(records: Sequence[Record], originals: Mapping[int, Record]) -> list[Record]:
    """Return the first repetition, and of the others first those that are not as expected."""
    first, *others = records

    def expected(record: Record) -> bool:
        original = originals.get(record.key.repetition)
        same = record.text == first.text and (original is None or record.text == original.text)
        return same and record.ok and len(record.attempts) < 2

    kept = [first, *sorted(others, key=expected)[: REPETITIONS - 1]]
    return sorted(kept, key=lambda record: record.key.repetition)


def _different(tokenizer: ReferenceTokenizer, original: str, text: str) -> TokenDiff:
    return token_diff(shown(original), shown(text), tokenizer)


def _entry(
    record: Record,
    original: Record | None,
    usual: str | None,
    different: Callable[[str, str], TokenDiff],
) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if record.key.repetition:
        entry["repetition"] = record.key.repetition
    if record.outcome != "ok":
        entry |= {"outcome": record.outcome, "status": record.status}
        entry |= {"error": record.error, "message": record.message}
    if _has_text(record) or record.text:
        entry |= _text(record, original, different)
    if past := _past_the_cut(record):
        entry["past"] = shown(past, PAST)
    for name, metric in (("e2e", E2E), ("ttft", TTFT)):
        value = next(iter(metric.values(record)), None)
        if value is not None and value != float("inf"):
            entry[name] = float(f"{value:.4g}")
    if record.usage.output_billed is not None:
        entry["tokens"] = record.usage.output_billed.value
        entry["estimated"] = record.usage.output_billed.estimated
    entry |= {"finish": record.finish_reason, "id": record.request_id}
    if len(record.attempts) > 1:
        entry |= {"attempts": len(record.attempts), "waited": float(f"{record.waited:.4g}")}
    if record.route != usual:
        entry["route"] = record.route
    return {
        name: shown(value, 1000) if name in _FOREIGN and isinstance(value, str) else value
        for name, value in entry.items()
        if value is not None and value is not False and value != ""
    }


_FOREIGN = frozenset({"error", "message", "finish", "id", "route"})


def _text(
    record: Record, original: Record | None, different: Callable[[str, str], TokenDiff]
) -> dict[str, Any]:
    if original is None or original.key == record.key:
        return {"text": shown(record.text)}
    if original.text == record.text:
        return {"same": True}
    found = different(original.text, record.text)
    return {"diff": found.segments, "at": found.divergence}


def _past_the_cut(record: Record) -> str:
    """Return the received text after the answer, without surrounding white space."""
    raw, text = record.raw.strip(), record.text.strip()
    return raw[len(text) :].strip() if raw.startswith(text) else ""


def _has_text(record: Record) -> bool:
    return record.outcome in ("ok", "empty")


def _usual(records: Sequence[Record]) -> str | None:
    """Return the route of most requests."""
    found = Counter(record.route for record in records if record.route).most_common(1)
    return found[0][0] if found else None


SAME, GONE, NEW = 0, 1, 2
"""Kinds of a segment: in both answers, only in the reference, only in the other answer."""


@dataclass(frozen=True, slots=True)
class TokenDiff:
    """The difference of an answer from that of the reference.

    Attributes:
        segments: ``(kind, text)`` in reading order, removed text before added text. The segments
            that are not ``GONE`` form the answer; those that are not ``NEW`` form the reference.
        divergence: The length of the common prefix in tokens; ``None`` if the answers are equal.
    """

    segments: tuple[tuple[int, str], ...]
    divergence: int | None


def token_diff(reference: str, other: str, tokenizer: ReferenceTokenizer) -> TokenDiff:
    """Return the smallest token edit that turns ``reference`` into ``other``."""
    if reference == other:
        return TokenDiff(((SAME, other),) if other else (), None)
    mine, theirs = tokenizer.pieces(reference), tokenizer.pieces(other)
    segments: list[tuple[int, str]] = []
    gone = new = ""
    for code in Levenshtein.opcodes(mine, theirs):
        if code.tag != "equal":
            gone += "".join(mine[code.src_start : code.src_end])
            new += "".join(theirs[code.dest_start : code.dest_end])
            continue
        segments += [(GONE, gone), (NEW, new)]
        segments.append((SAME, "".join(theirs[code.dest_start : code.dest_end])))
        gone = new = ""
    segments += [(GONE, gone), (NEW, new)]
    shared = common_prefix(tokenizer.encode(reference), tokenizer.encode(other))
    return TokenDiff(tuple(part for part in segments if part[1]), shared)
