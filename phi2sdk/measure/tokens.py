"""One reference tokenizer for all targets, so that their tokens can be counted and compared."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi2sdk.errors import ConfigurationError

PHI2 = "microsoft/phi-2"
_HALF = re.compile("[\ud800-\udfff]")
_PIECE = re.compile(r" ?[^\W\d_]{1,8}| ?\d{1,3}| ?[^\w\s]+| ?_+|\s")


_Encode = Callable[[str], tuple[int, ...]]
_Spans = Callable[[str], Sequence[tuple[int, int]]]
"""Returns the begin and end of each token in characters."""


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
    _spans: _Spans
    _known: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def encode(self, text: str) -> tuple[int, ...]:
        """The text's token ids."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= 50_000:
                self._known.clear()
            found = self._known[text] = self._encode(_whole(text))
        return found

    def count(self, text: str) -> int:
        """Return the number of tokens of the text."""
        return len(self.encode(text))

    def pieces(self, text: str) -> list[str]:
        """The text in its tokens' pieces; joined they are the text.

        Tokens that share a character, such as those of one emoji, are one piece.
        """
        found, begin = [], 0
        for _, end in self._spans(_whole(text)):
            if end > begin:
                found.append(text[begin:end])
                begin = end
        return [*found, text[begin:]] if begin < len(text) else found


def _whole(text: str) -> str:
    """The text with a replacement character for each half of a surrogate pair.

    JSON can hold one alone, so a provider can send it; no tokenizer takes it.
    """
    return text if text.isascii() else _HALF.sub("\ufffd", text)


def load_tokenizer(path: str | Path, name: str | None = None) -> ReferenceTokenizer:
    """A tokenizer from its ``tokenizer.json``, or from a model's folder that holds one.

    Raises:
        ConfigurationError: There is none, or it is damaged.
    """
    from phi2sdk.backends.engine.files import from_files
    from phi2sdk.backends.engine.tokenizer import read_tokenizer

    file = Path(path)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise ConfigurationError(f"there is no tokenizer at {file}: give a tokenizer.json")
    tokenizer = read_tokenizer(file)

    def encode(text: str) -> tuple[int, ...]:
        with from_files(file):
            return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    def spans(text: str) -> Sequence[tuple[int, int]]:
        with from_files(file):
            return list(tokenizer.encode(text, add_special_tokens=False).offsets)

    return ReferenceTokenizer(
        name or file.parent.name, estimated=False, _encode=encode, _spans=spans
    )


def given_tokenizer(path: str | Path) -> ReferenceTokenizer:
    """A tokenizer that somebody chose, named such that another file has another name.

    Raises:
        ConfigurationError: As :func:`load_tokenizer`.
    """
    file = Path(path)
    found = load_tokenizer(file)
    file = file / "tokenizer.json" if file.is_dir() else file
    digest = hashlib.blake2b(file.read_bytes(), digest_size=4).hexdigest()
    found.name = f"{file.name} {digest}"
    return found


def local_model(targets: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The checkpoint of the first local target, if there is one.

    Args:
        targets: As the run's configuration describes them.
    """
    for described in targets.values():
        if described["backend"] == "local":
            return str(described["settings"].get("model", PHI2))
    return None


def model_label(model: str) -> str:
    """Return the name of a model in sentences.

    >>> model_label("microsoft/phi-2")
    'Phi-2'
    """
    if model == "demo":
        return "the bundled model"
    return "Phi-2" if model == "microsoft/phi-2" else Path(model).name


def find_tokenizer(model: str | None = None) -> ReferenceTokenizer:
    """The tokenizer of a checkpoint, or Phi-2's own, or an estimate.

    Args:
        model: A folder, ``demo``, or the name of a model in the local cache of Hugging Face.
    """
    if model == "demo":
        from phi2sdk.demo import checkpoint_path

        return load_tokenizer(checkpoint_path(), "the demo checkpoint's own")
    if model is not None and (Path(model) / "tokenizer.json").is_file():
        return load_tokenizer(model)
    for name in dict.fromkeys((model or PHI2, PHI2)):
        if (file := _cached(name)) is not None:
            return load_tokenizer(file, name)
    return estimating_tokenizer()


def _cached(model: str) -> Path | None:
    """``tokenizer.json`` of a model in the local cache of Hugging Face."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    snapshots = hub / f"models--{model.strip('/').replace('/', '--')}" / "snapshots"
    return next(iter(sorted(snapshots.glob("*/tokenizer.json"))), None)


def estimating_tokenizer() -> ReferenceTokenizer:
    """Pieces of words: about as many as a byte-pair encoding of English text has."""

    def encode(text: str) -> tuple[int, ...]:
        return tuple(zlib.crc32(piece.encode()) for piece in _PIECE.findall(text))

    def spans(text: str) -> Sequence[tuple[int, int]]:
        return [match.span() for match in _PIECE.finditer(text)]

    return ReferenceTokenizer(
        "estimate by pieces of words", estimated=True, _encode=encode, _spans=spans
    )
