"""Embeddings of texts by a sentence-transformers model of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phi2sdk.backends.engine.files import from_files
from phi2sdk.errors import ConfigurationError

__all__ = ["Encoder", "check_encoder", "cosines", "load_encoder"]

Floats = NDArray[np.float64]


class Encoder(Protocol):
    """What turns texts into vectors; a ``SentenceTransformer`` is one."""

    def encode(self, sentences: list[str]) -> Any:
        """``[n, d]``: a vector for each text."""
        ...


def check_encoder(path: str | Path) -> None:
    """See whether there is a model at ``path``, and the library that reads it.

    Raises:
        ConfigurationError: There is not.
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
    """The model in a folder; nothing is downloaded, and no code of its own is run.

    Raises:
        ConfigurationError: There is none, or it cannot be read.
    """
    check_encoder(path)
    from importlib import import_module

    library = import_module("sentence_transformers")
    with from_files(path, "is no sentence-transformers model"):
        made: Encoder = library.SentenceTransformer(
            str(path), local_files_only=True, trust_remote_code=False
        )
    return made


def cosines(encoder: Encoder, texts: Sequence[str]) -> dict[str, Floats]:
    """The vector of each distinct text, of length 1 so that a product is a cosine."""
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return {}
    vectors = np.nan_to_num(np.asarray(encoder.encode(distinct), dtype=np.float64))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return dict(zip(distinct, vectors / np.where(lengths > 0, lengths, 1.0), strict=True))
