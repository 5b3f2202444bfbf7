"""``report.md``: the report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from phi2sdk.report.schema import Report
from phi2sdk.report.sections import sections
from phi2sdk.report.table import COLUMNS, failures, rows, verdicts
from phi2sdk.report.words import DEMO, how_often, notes, requirement_line, so_far
from phi2sdk.terminal import printable

__all__ = ["escape", "markdown"]

_ENTITY = frozenset("<>&|`\\@")
_ALWAYS = frozenset("*[]")
_IN_PAIRS = frozenset("~$")
_LINK = re.compile(r"(?<=www)\.|:(?=//)", re.IGNORECASE)
_BLOCK = re.compile(r"[-+#=](?!\d)|\d+(?=[.)](\s|$))")


def escape(text: str, *, cell: bool = False) -> str:
    """Text that is not ours, such that Markdown and HTML take nothing in it for markup.

    What would not act where it stands is left as it is. ``cell``: it is a table's, where no block
    can begin.
    """
    flat = " ".join(printable(text).split())
    paired = {c for c in _IN_PAIRS if flat.count(c) > 1}
    links = {match.start() for match in _LINK.finditer(flat)}
    said = []
    for at, c in enumerate(flat):
        if c in _ENTITY or at in links:
            said.append(f"&#{ord(c)};")
        elif c in _ALWAYS or c in paired or (c == "_" and not _inside_a_word(flat, at)):
            said.append(f"\\{c}")
        else:
            said.append(c)
    if not cell and (begins := _BLOCK.match(flat)):
        said.insert(0 if begins[0][0] in "-+#=" else begins.end(), "\\")
    return "".join(said)


def _inside_a_word(text: str, at: int) -> bool:
    return 0 < at < len(text) - 1 and text[at - 1].isalnum() and text[at + 1].isalnum()


def markdown(report: Report) -> str:
    """The whole report, its verdict first."""
    run = report.run
    lines = [report.validity.sentence, "", "# Comparison of Phi-2 targets", ""]
    if run.demo:
        lines += [f"Demo: {DEMO}", ""]
    if not run.complete:
        lines += [f"Incomplete: {so_far(report)}.", ""]
    lines += [
        f"{run.prompts} prompts x {how_often(report)}, task {run.task}, load {run.load}, at most "
        f"{run.max_tokens} tokens, seed {run.seed}. Input: {escape(run.input)}. "
        f"Started {run.started}, phi2sdk {run.phi2sdk}, configuration {run.configuration_hash}.",
        "",
    ]
    lines += _table([column.title for column in COLUMNS], rows(report))
    lines += ["", *(f"- {escape(line)}" for line in verdicts(report))]
    lines += ["", *(f"- {escape_note(note)}" for note in notes(report)), ""]
    lines += ["## What the columns mean", ""]
    lines += [f"- {column.title}: {column.meaning}." for column in COLUMNS]
    if report.requirements:
        required = [f"- {escape(requirement_line(result))}" for result in report.requirements]
        lines += ["", "## Requirements", "", *required]
    if failed := failures(report):
        lines += ["", "## Failures", "", *(f"- {escape(line)}" for line in failed)]
    for section in sections(report):
        lines += ["", f"## {section.title}", ""]
        if section.rows:
            lines += [*_table(section.columns, section.rows), ""]
        lines += [f"- {escape(line)}" for line in section.lines]
    return "\n".join(lines) + "\n"


def escape_note(note: str) -> str:
    """A note of our own: only its marks need care."""
    return note.replace("*", "\\*")


def _table(titles: Sequence[str], body: Sequence[tuple[str, ...]]) -> list[str]:
    aligned = ["---", *["---:"] * (len(titles) - 1)]
    lines = [titles, aligned, *([escape(cell, cell=True) for cell in row] for row in body)]
    return [f"| {' | '.join(line)} |" for line in lines]
