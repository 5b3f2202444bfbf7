"""Summarize the support tickets of a file; print a line of JSON for each ticket."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from phi2sdk.errors import ConfigurationError
from ticket_summarizer.service import Summarizer, Ticket

DONE, USAGE, SOME_LEFT = 0, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Summarize the tickets of a file and return the exit status."""
    asked = _parser().parse_args(arguments)
    left = 0
    try:
        with Summarizer(config=asked.config, budget_usd=asked.budget_usd) as summarizer:
            for summary in summarizer.summarize(list(read(asked.tickets))):
                # JSON in ASCII: the text of a model must not control the terminal.
                sys.stdout.write(json.dumps(asdict(summary)) + "\n")
                left += summary.state != "done"
            sys.stderr.write(f"{left} tickets left, ${summarizer.spent_usd:.4f} spent\n")
    except (ConfigurationError, ValueError, OSError) as error:
        sys.stderr.write(f"summarize-tickets: {error}\n")
        return USAGE
    return SOME_LEFT if left else DONE


def read(path: Path) -> Iterator[Ticket]:
    """Read the tickets of a file.

    Raises:
        ValueError: A line is not a ticket; the message states its number.
    """
    # Not splitlines(): U+2028 and U+0085 may be part of a text; they do not end a line of JSON.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                ticket = json.loads(line)
                yield Ticket(str(ticket["id"]), str(ticket["text"]))
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"{path}, line {number}: this is not a ticket; write "
                    '{"id": "...", "text": "..."}'
                ) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="summarize-tickets", description=__doc__)
    parser.add_argument("tickets", type=Path, help="file with one ticket per line, as JSON")
    parser.add_argument("--config", type=Path, default=Path("phi2.toml"))
    parser.add_argument("--budget-usd", type=float, default=1.0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
