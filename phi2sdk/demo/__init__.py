"""The bundled demonstration: a small checkpoint and paragraphs with reference summaries.

Importing this module loads nothing; it only knows where the files are.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["checkpoint_path", "open_ended_path", "paragraphs_path"]

_HERE = Path(__file__).resolve().parent


def checkpoint_path() -> Path:
    """The folder of the bundled model and its tokenizer, as ``from_pretrained`` takes it."""
    return _HERE / "checkpoint"


def paragraphs_path() -> Path:
    """The bundled paragraphs, JSON Lines with ``id``, ``text`` and ``reference``."""
    return _HERE / "paragraphs.jsonl"


def open_ended_path() -> Path:
    """Open-ended instructions, JSON Lines with ``id`` and ``text``: many answers are possible."""
    return _HERE / "open_ended.jsonl"
