"""The bundled demonstration: a small checkpoint and paragraphs with reference summaries.

Importing this module loads nothing; it only knows where the files are.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["checkpoint_path", "open_ended_path", "paragraphs_path", "prices_path"]

_HERE = Path(__file__).resolve().parent


def checkpoint_path() -> Path:
    """Return the folder of the bundled model and its tokenizer, for ``from_pretrained``."""
    return _HERE / "checkpoint"


def paragraphs_path() -> Path:
    """Return the file of the paragraphs: JSON Lines with ``id``, ``text`` and ``reference``."""
    return _HERE / "paragraphs.jsonl"


def open_ended_path() -> Path:
    """Return the file of open-ended instructions: JSON Lines with ``id`` and ``text``."""
    return _HERE / "open_ended.jsonl"


def prices_path() -> Path:
    """Return the file of the demo's example prices: TOML with a price for each target."""
    return _HERE / "prices.toml"
