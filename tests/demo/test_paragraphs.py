"""The command that draws paragraphs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from training import names
from training.paragraphs import draw
from training.vocabulary import CONCEPTS

ROOT = Path(__file__).resolve().parents[2]


def test_a_count_beyond_the_real_nouns_is_drawn_to_the_end(tmp_path: Path) -> None:
    out = tmp_path / "paragraphs.jsonl"
    command = (sys.executable, "-m", "training.paragraphs", "--count", "240", "--out", str(out))
    subprocess.run(command, cwd=ROOT, timeout=60, check=True)
    written = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len({paragraph["id"] for paragraph in written}) == 240
    assert len({paragraph["text"] for paragraph in written}) == 240


def test_invented_names_take_the_place_of_real_nouns_that_ran_out() -> None:
    drawn = draw(seed=0, n=240)
    subjects = [paragraph.subject for paragraph in drawn]
    assert len(set(subjects)) == len(subjects) == 240
    held_out = {noun for noun in CONCEPTS if names.is_held_out(noun)}
    about_concepts = [p.subject for p in drawn if p.kind != "organism"]
    assert held_out < set(about_concepts)
    assert held_out.isdisjoint(about_concepts[120:])


def test_more_paragraphs_begin_with_those_of_a_smaller_count() -> None:
    assert draw(seed=0, n=60)[:24] == draw(seed=0, n=24)
