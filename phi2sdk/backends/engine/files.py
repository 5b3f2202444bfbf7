"""Find the files of a model in a local folder, in the cache, or on the hub; safetensors only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi2sdk.backends.engine.memory import Shape
from phi2sdk.errors import ConfigurationError, ModelNotFound, OutOfMemory, Phi2Error
from phi2sdk.parsing import parse_json
from phi2sdk.secret import Secret
from phi2sdk.text import untrusted
from phi2sdk.transport.redaction import Redactor

__all__ = ["ModelFiles", "find_model", "from_files"]

_FILE = re.compile(r"[\w-][\w.-]{0,200}\.safetensors")
_WANTED = ["config.json", "generation_config.json", "tokenizer.json", "*.safetensors*"]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one model. All of them exist.

    Attributes:
        name: The folder or id that the caller gave.
        config: The content of ``config.json``.
        shape: The sizes in ``config``.
        tokenizer: The path of ``tokenizer.json``.
        weights: The paths of the safetensors files.
        eos_ids: Token ids that end an answer.
    """

    name: str
    config: dict[str, Any]
    shape: Shape
    tokenizer: Path
    weights: tuple[Path, ...]
    eos_ids: frozenset[int]


@contextmanager
def from_files(name: str | Path, said: str = "cannot be read") -> Iterator[None]:
    """Turn any exception raised while a model's files are read into a known error.

    The libraries that read the files raise many classes, including ``PanicException``, which is
    not a subclass of ``Exception``.

    Args:
        name: The name of the file or model in the message.
        said: The problem in the message.

    Raises:
        ConfigurationError: The files are damaged, or belong to another kind of model.
        OutOfMemory: Memory ran out while the files were read.
    """
    try:
        yield
    except (Phi2Error, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        kind = type(error).__name__
        if isinstance(error, MemoryError) or kind == "OutOfMemoryError":  # torch's
            raise OutOfMemory(
                f"memory ran out while {name} was read. Close other programs, or use a smaller "
                "dtype"
            ) from error
        raise ConfigurationError(
            f"{name} {said} ({kind}: {untrusted(str(error), 200)}), because it is damaged or "
            "of another kind. Download the model again"
        ) from error


_BUNDLED = Path(__file__).resolve().parents[2] / "demo" / "checkpoint"


def find_model(
    model: str | Path, *, revision: str | None = None, download: bool = True
) -> ModelFiles:
    """Find a model's files in a folder, or by hub id in the cache or on the hub.

    Args:
        model: A folder, an id such as ``microsoft/phi-2``, or ``demo`` for the bundled checkpoint.
        revision: A branch, tag or commit on the hub.
        download: Whether files that are not in the cache may be downloaded.

    Raises:
        ConfigurationError: The folder or a file in it is missing or cannot be used.
        ModelNotFound: The hub does not have the model or revision.
    """
    folder = _BUNDLED if model == "demo" else Path(model).expanduser()
    if not folder.is_dir():
        if isinstance(model, Path) or not _is_hub_id(str(model)):
            raise ConfigurationError(
                f"there is no model folder {str(model)!r}. Set model to a folder with config.json, "
                "tokenizer.json and *.safetensors, or to a hub id such as microsoft/phi-2"
            )
        folder = _from_hub(str(model), revision, download)
    with from_files(folder):
        return _read_folder(str(model), folder)


def _read_folder(model: str, folder: Path) -> ModelFiles:
    config = _read_json(folder / "config.json")
    if (kind := config.get("model_type")) != "phi":
        raise ConfigurationError(
            f"{model} is a {untrusted(repr(kind), 80)} model, and this engine runs Phi models only "
            "(model_type 'phi'). Run other models on an OpenAI-compatible server, and use the "
            "backend openai"
        )
    shape = Shape.of_config(config)
    generation = folder / "generation_config.json"
    eos = _read_json(generation).get("eos_token_id") if generation.exists() else None
    if eos is None:
        eos = config.get("eos_token_id")
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise ConfigurationError(f"{tokenizer} is missing. Download the model again")
    return ModelFiles(
        name=model,
        config=config,
        shape=shape,
        tokenizer=tokenizer,
        weights=_weights(folder, shape),
        eos_ids=_eos_ids(eos, shape.vocab),
    )


def _eos_ids(given: object, vocab: int) -> frozenset[int]:
    ids = given if isinstance(given, list) else [] if given is None else [given]
    for id in ids:
        if isinstance(id, bool) or not isinstance(id, int) or not 0 <= id < vocab:
            raise ConfigurationError(
                f"eos_token_id must be tokens from 0 to {vocab - 1}. Correct it in "
                "generation_config.json or config.json"
            )
    return frozenset(ids)


def _weights(folder: Path, shape: Shape) -> tuple[Path, ...]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = tuple(folder / name for name in _indexed(index))
    else:
        files = tuple(sorted(folder.glob("*.safetensors")))
    if not files:
        others = [path.name for path in folder.glob("*.bin")]
        why = f"; {others[0]} is not read, because a pickle can run code" if others else ""
        raise ConfigurationError(
            f"{folder} has no *.safetensors{why}. Convert the weights to safetensors"
        )
    if missing := [path.name for path in files if not path.is_file()]:
        raise ConfigurationError(f"{folder} lacks {', '.join(missing)}. Download the model again")
    stored = sum(path.stat().st_size for path in files)
    if stored < shape.parameters:  # a parameter takes at least one byte
        raise ConfigurationError(
            f"{folder}: config.json describes {shape.parameters:,} parameters, but the weights "
            f"have only {stored:,} bytes, so they are damaged or belong to another model. "
            "Download the model again"
        )
    return files


def _indexed(index: Path) -> list[str]:
    """Return the names of the weight files, which must be in the folder of the index."""
    listed = _read_json(index).get("weight_map")
    names = list(listed.values()) if isinstance(listed, dict) else []
    if not names or not all(isinstance(name, str) and _FILE.fullmatch(name) for name in names):
        raise ConfigurationError(
            f"{index} must have a weight_map from tensors to *.safetensors files beside it. "
            "Download the model again"
        )
    return sorted(set(names))


def _from_hub(model: str, revision: str | None, download: bool) -> Path:
    from huggingface_hub import get_token, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:  # a complete snapshot in the cache needs no network
        cached = Path(
            snapshot_download(
                model, revision=revision, allow_patterns=_WANTED, local_files_only=True
            )
        )
        if (cached / "config.json").is_file() and any(cached.glob("*.safetensors")):
            return cached
    except LocalEntryNotFoundError:
        pass
    if not download:
        raise ConfigurationError(
            f"{model!r} is not on this machine. The first request downloads it (microsoft/phi-2: "
            '5.6 GB). To avoid the download, set model="demo", the checkpoint in this package'
        )
    with Redactor((Secret(get_token() or ""),)).boundary():
        try:
            return Path(snapshot_download(model, revision=revision, allow_patterns=_WANTED))
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            at = f" at revision {revision}" if revision else ""
            raise ModelNotFound(
                f"the hub has no model {model!r}{at}. Check the name at https://huggingface.co"
            ) from error
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise ConfigurationError(
                f"{model!r} is not in the cache and could not be downloaded "
                f"({type(error).__name__}). Check the connection, or download the model on another "
                "machine and set model to its folder"
            ) from error


def _is_hub_id(model: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model) is not None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():  # reading a device or a pipe might never end
        raise ConfigurationError(
            f"{path} is missing or is not a file. Set model to the folder of a model"
        )
    try:
        document = parse_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} is not a JSON object")
    return document
