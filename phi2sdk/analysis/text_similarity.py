"""Similarity of a text to a reference: ROUGE-L, chrF, embeddings, supported facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq

from phi2sdk.backends.engine.files import from_files
from phi2sdk.errors import ConfigurationError

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_ROUGE_WORD = re.compile(f"[{_CJK}]|[^\\W_{_CJK}]+")


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[str, ...]:
    """Return the words of a text in lower case, or Chinese, Japanese and Korean characters."""
    return tuple(_ROUGE_WORD.findall(text.casefold()))


def rouge_l(answer: str, reference: str) -> float:
    """Return ROUGE-L (Lin 2004): F1 of the longest common subsequence of words; both empty 1.

    >>> rouge_l("the cat sat", "the black cat sat down")
    0.75
    """
    a, b = words(answer), words(reference)
    if not a or not b:
        return float(a == b)
    return 2.0 * LCSseq.similarity(a, b) / (len(a) + len(b))


@lru_cache(maxsize=16384)
def chrf(answer: str, reference: str) -> float:
    """Return chrF2 (Popovic 2015) as sacrebleu computes it, from 0 to 1; both empty 1.

    Raises:
        ImportError: sacrebleu is not installed (extra ``quality``).
    """
    if not answer.strip() or not reference.strip():
        return float(answer.strip() == reference.strip())
    return float(_sentence_chrf()(answer, [reference]).score) / 100


@cache
def _sentence_chrf() -> Callable[[str, list[str]], Any]:
    from sacrebleu.metrics.chrf import CHRF

    score: Callable[[str, list[str]], Any] = CHRF().sentence_score
    return score


_NUMBER = re.compile(r"(?<![^\W_])\d+(?:[.,]\d+)*(?![^\W_])")
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_BEGINS = re.compile(r"(?:[.!?:;\n]|[\"“”(]|- )\s*$")
_COUNTING = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
_NUMBER_OF = {word: str(number) for number, word in enumerate(_COUNTING.split(" "))}
_ALWAYS = frozenset({"I", "I'm", "I've", "I'll"})


@lru_cache(maxsize=4096)
def details(text: str) -> frozenset[str]:
    """Return the numbers and names of a text."""
    found = {_plain_number(match[0]) for match in _NUMBER.finditer(text)}
    for match in _WORD.finditer(text):
        word = match[0]
        at = match.start()
        begins = at == 0 or _BEGINS.search(text, max(0, at - 4), at) is not None
        if word not in _ALWAYS and not word.isdigit() and _is_name(word, begins=begins):
            found.add(_plain_name(word))
    return frozenset(found)


def unsupported(summary: str, source: str) -> tuple[int, int]:
    """Return ``(missing, all)`` counts of a summary's numbers and names, missing in its source."""
    found = details(summary)
    return len(found - _words(source)), len(found)


@lru_cache(maxsize=4096)
def _words(source: str) -> frozenset[str]:
    """Return the words and numbers of a source that can support a detail."""
    known = {_plain_number(match[0]) for match in _NUMBER.finditer(source)}
    for match in _WORD.finditer(source):
        known.add(_plain_name(match[0]))
        known.update(_plain_name(part) for part in re.split(r"[-'’]", match[0]))
    return frozenset(known | {_NUMBER_OF[word] for word in known & _NUMBER_OF.keys()})


def _is_name(word: str, *, begins: bool) -> bool:
    inside = any(c.isupper() or c.isdigit() for c in word[1:])
    return inside or (word[0].isupper() and not begins)


def _plain_number(text: str) -> str:
    """Return ``1,000`` as ``1000``; in other numbers, only a decimal comma changes."""
    return re.sub(r",(?=\d{3}(?!\d))", "", text)


def _plain_name(word: str) -> str:
    return re.sub(r"['’]s$", "", word).casefold()


Floats = NDArray[np.float64]


class Encoder(Protocol):
    """A model that converts texts to vectors, such as a ``SentenceTransformer``."""

    def encode(self, sentences: list[str]) -> Any:
        """Return ``[n, d]`` with a vector for each text."""
        ...


def check_encoder(path: str | Path) -> None:
    """Check that there is a model at ``path``, and that its library is installed.

    Raises:
        ConfigurationError: The model or the library is missing.
    """
    from importlib.util import find_spec

    if not Path(path).is_dir():
        raise ConfigurationError(
            f"there is no quality model at {path}: give the folder of a sentence-transformers model"
        )
    if find_spec("sentence_transformers") is None:
        raise ConfigurationError(
            "a quality model needs sentence-transformers, which is not installed: "
            "python -m pip install sentence-transformers"
        )


def load_encoder(path: str | Path) -> Encoder:
    """Load the model in a folder, without a download and without running its code.

    Raises:
        ConfigurationError: There is no model, or it cannot be read.
    """
    check_encoder(path)
    from importlib import import_module

    library = import_module("sentence_transformers")
    with from_files(path, "is not a sentence-transformers model"):
        made: Encoder = library.SentenceTransformer(
            str(path), local_files_only=True, trust_remote_code=False
        )
    return made


def cosines(encoder: Encoder, texts: Sequence[str]) -> dict[str, Floats]:
    """Return the vector of each distinct text, normalized so that a product is a cosine."""
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return {}
    vectors = np.nan_to_num(np.asarray(encoder.encode(distinct), dtype=np.float64))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return dict(zip(distinct, vectors / np.where(lengths > 0, lengths, 1.0), strict=True))
