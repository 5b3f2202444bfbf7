"""Write the results of bench/identity.py into docs/compare/identity.md, between their marks.

python bench/identity.py --frauds --runs 100 --jobs 2 --continue frauds.jsonl
python bench/identity_docs.py frauds.jsonl
python bench/identity.py --logprobs --runs 200 --json logprobs.json
python bench/identity_docs.py logprobs.json
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.common import HERE
from bench.identity_frauds import FRAUDS, Fraud, named, read, share

PAGE = HERE.parent / "docs" / "compare" / "identity.md"
LEVEL = 0.05
ENOUGH = 100
"""With fewer runs the shares are an example."""


def planted(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of planted changes in Markdown, with the command and the machine."""
    head = next(line for line in lines if "kl" in line)
    complete = {line["run"] for line in lines if "core_seconds" in line}
    found = {(one["run"], one["target"], one["calls"]): one for one in lines if "target" in one}
    results = [one for (run, *_), one in found.items() if run in complete]
    spent = [sum(line["core_seconds"].values()) for line in lines if "core_seconds" in line]
    machine = head["machine"]
    said = (
        f"`{head['command']}` on {head['date'][:10]}: {machine['cpu']}, {machine['cores']} cores, "
        f"{len(spent)} runs, {sum(spent) / max(1, len(spent)):.0f} core-seconds for each."
    )
    if len(spent) < ENOUGH:
        said += (
            f" With {len(spent)} runs for each target, the table shows which findings are reported;"
            " its percentages are not detection rates."
        )
    counts = sorted({line["calls"] for line in results})
    columns = [f"{what}, {n} calls" for n in counts for what in ("rejected", "cause named")]
    names = ["target", "KL", *columns, "stated power", f"named in the runs, {counts[-1]} calls"]
    rows = [
        _row(fraud, [one for one in results if one["target"] == fraud.name], head["kl"], counts)
        for fraud in FRAUDS
        if fraud.name in head["kl"]
    ]
    table = [f"| {' | '.join(names)} |", "|" + "---|" * len(names), *rows]
    return "\n".join([said, "", *table])


def _row(
    fraud: Fraud,
    results: Sequence[Mapping[str, Any]],
    kl: Mapping[str, float],
    counts: Sequence[int],
) -> str:
    cells = [fraud.what, f"{kl[fraud.name]:.3f}" if kl[fraud.name] else "0"]
    if fraud.share < 1:
        cells[1] += f" x {fraud.share:g}"
    last: list[Mapping[str, Any]] = []
    for count in counts:
        last = [one for one in results if one["calls"] == count]
        cells.append(_share(sum(one["p"] <= LEVEL for one in last), len(last)))
        hits = sum(named(fraud, one) for one in last)
        cells.append(_share(hits, len(last)) if fraud.cause else "-")
    power = [one["power"][fraud.cause] for one in last if fraud.cause in one["power"]]
    cells.append(f"{sum(power) / len(power):.2f}" if power and not fraud.honest else "-")
    said = Counter(
        kind
        for one in last
        for kind in (*one["findings"].values(), one["closest"] if one["p"] <= LEVEL else None)
        if kind
    )
    cells.append(", ".join(f"{kind} {count}" for kind, count in said.most_common(4)) or "-")
    return f"| {' | '.join(cells)} |"


def _share(hits: int, runs: int) -> str:
    value, low, high = share(hits, runs)
    return f"{value:.0%} ({low:.0%} to {high:.0%})" if runs else "-"


def returned(report: Mapping[str, Any]) -> str:
    """Return the table of endpoints that return log-probabilities in Markdown, with its source."""
    machine = report["machine"]
    said = (
        f"`{report['command']}` on {report['date'][:10]}: {machine['cpu']}, {machine['cores']} "
        f"cores, load average at the end {machine['load']}; {'; '.join(report['notes'])}."
    )
    head = "| endpoint | KL | runs | different | consistent | cause named | size | int8 pattern |"
    lines = [
        f"| {row['endpoint']} | {row['kl']:.2g} | {row['runs']} | {row['different']:.0%} "
        f"| {row['consistent']:.0%} | {_percent(row['named'])} "
        f"| {row['size']:.2g} | {round(row['int8_share'], 2) + 0.0:.2f} |"
        for row in report["rows"]
    ]
    return "\n".join([said, "", head, "|" + "---|" * 8, *lines])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def main() -> int:
    """Write the table of a file into the page: of --frauds (``.jsonl``), or of --logprobs."""
    file = Path(sys.argv[1])
    if file.suffix == ".jsonl":
        name, table = "planted changes", planted(read(file))
    else:
        name, table = "log-probabilities", returned(json.loads(file.read_text(encoding="utf-8")))
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE} has no marks: {begin} ... {end}")
    PAGE.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
