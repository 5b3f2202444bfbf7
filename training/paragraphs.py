"""Draw the bundled paragraphs, which are all about held-out subjects."""

from __future__ import annotations

import argparse
import json
from itertools import cycle
from pathlib import Path
from random import Random

from .grammar import Paragraph, paragraph
from .kinds import KINDS
from .names import is_held_out
from .vocabulary import CONCEPTS, ORGANISMS


def draw(seed: int, n: int) -> list[Paragraph]:
    """Return ``n`` paragraphs, of each kind in turn, about real nouns and invented names in turn.

    All subjects are different. There are few real nouns: when each noun that fits a kind has a
    paragraph, further paragraphs of this kind are about invented names.
    """
    rng = Random(f"paragraphs {seed}")
    real = {
        organism: {noun for noun in nouns if is_held_out(noun)}
        for organism, nouns in ((True, ORGANISMS), (False, CONCEPTS))
    }
    drawn: dict[str, Paragraph] = {}
    for number, kind in zip(range(n), cycle(KINDS), strict=False):
        nouns = real[kind.organism]
        about_real = number % 2 == 0 and not nouns <= drawn.keys()
        while True:
            candidate = paragraph(rng, held_out=True)
            wanted = candidate.kind == kind.name and (candidate.subject in nouns) == about_real
            if wanted and candidate.subject not in drawn:
                drawn[candidate.subject] = candidate
                break
    return list(drawn.values())


def main() -> None:
    """Write one JSON object per line with ``id``, ``text`` and ``reference``."""
    parser = argparse.ArgumentParser(prog="python -m training.paragraphs", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file to write (JSON Lines)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=24)
    arguments = parser.parse_args()
    lines = [
        json.dumps(
            {"id": f"{number:02d}-{p.kind}", "text": p.text, "reference": p.reference},
            ensure_ascii=False,
        )
        for number, p in enumerate(draw(arguments.seed, arguments.count), start=1)
    ]
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
