"""One reference tokenizer for all targets, so that their tokens can be counted and compared."""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from phi2sdk.errors import ConfigurationError

__all__ = ["ReferenceTokenizer", "estimating_tokenizer", "find_tokenizer", "load_tokenizer"]

PHI2 = "microsoft/phi-2"
_PIECE = re.compile(r" ?[^\W\d_]{1,8}| ?\d{1,3}| ?[^\w\s]+| ?_+|\s")


class _Encode(Protocol):
    def __call__(self, text: str) -> tuple[int, ...]: ...


@dataclass(slots=True)
class ReferenceTokenizer:
    """Counts tokens, each text once.

    Attributes:
        name: What it is, for the report.
        estimated: It is a stand-in: its counts are estimates of the model's own.
    """

    name: str
    estimated: bool
    _encode: _Encode
    _known: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def encode(self, text: str) -> tuple[int, ...]:
        """The text's token ids."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= 50_000:
                self._known.clear()
            found = self._known[text] = self._encode(text)
        return found

    def count(self, text: str) -> int:
        """How many tokens the text has."""
        return len(self.encode(text))


def load_tokenizer(path: str | Path, name: str | None = None) -> ReferenceTokenizer:
    """A tokenizer from its ``tokenizer.json``, or from a model's folder that holds one.

    Raises:
        ConfigurationError: There is none, or it is damaged.
    """
    from tokenizers import Tokenizer

    file = Path(path)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise ConfigurationError(f"there is no tokenizer at {file}: give a tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise ConfigurationError(f"{file} is no tokenizer: {error}") from error

    def encode(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    return ReferenceTokenizer(name or file.parent.name, estimated=False, _encode=encode)


def find_tokenizer() -> ReferenceTokenizer:
    """Phi-2's own tokenizer from the local cache of Hugging Face, or an estimate."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    snapshots = hub / f"models--{PHI2.replace('/', '--')}" / "snapshots"
    for file in sorted(snapshots.glob("*/tokenizer.json")):
        return load_tokenizer(file, PHI2)
    return estimating_tokenizer()


def estimating_tokenizer() -> ReferenceTokenizer:
    """Pieces of words: about as many as a byte-pair encoding of English text has."""

    def encode(text: str) -> tuple[int, ...]:
        return tuple(zlib.crc32(piece.encode()) for piece in _PIECE.findall(text))

    return ReferenceTokenizer("estimate by pieces of words", estimated=True, _encode=encode)
