"""Where a model's files are: a local folder, the cache, or the hub; safetensors only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi2sdk.errors import ConfigurationError, ModelNotFound

__all__ = ["ModelFiles", "find_model"]

_WANTED = ["config.json", "generation_config.json", "tokenizer.json", "*.safetensors*"]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one model, all present.

    Attributes:
        name: What the caller called it.
        config: ``config.json``, read.
        tokenizer: The path of ``tokenizer.json``.
        weights: The safetensors files.
        eos_ids: Tokens that end an answer.
    """

    name: str
    config: dict[str, Any]
    tokenizer: Path
    weights: tuple[Path, ...]
    eos_ids: frozenset[int]


_BUNDLED = Path(__file__).resolve().parents[2] / "demo" / "checkpoint"


def find_model(
    model: str | Path, *, revision: str | None = None, download: bool = True
) -> ModelFiles:
    """A model's files from a folder, or by its hub id: from the cache if there, else downloaded.

    Args:
        model: A folder, an id such as ``microsoft/phi-2``, or ``demo``, the bundled checkpoint.
        revision: A branch, tag or commit on the hub; pins the id.
        download: Whether the hub may be asked for what is not in the cache.

    Raises:
        ConfigurationError: The folder or a file in it is missing or not usable.
        ModelNotFound: The hub has no such model or revision.
    """
    folder = _BUNDLED if model == "demo" else Path(model).expanduser()
    if not folder.is_dir():
        if isinstance(model, Path) or not _is_hub_id(str(model)):
            raise ConfigurationError(
                f"there is no model folder {str(model)!r}: give a folder with config.json, "
                "tokenizer.json and *.safetensors, or a hub id such as microsoft/phi-2"
            )
        folder = _from_hub(str(model), revision, download)
    config = _read_json(folder / "config.json")
    if config.get("model_type") != "phi":
        raise ConfigurationError(
            f"{model} is a {config.get('model_type')!r} model: this engine runs Phi models only "
            "(model_type 'phi'); serve others behind the openai backend"
        )
    generation = folder / "generation_config.json"
    eos = _read_json(generation).get("eos_token_id") if generation.is_file() else None
    if eos is None:
        eos = config.get("eos_token_id")
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise ConfigurationError(f"{tokenizer} is missing: the model's tokenizer is needed")
    return ModelFiles(
        name=str(model),
        config=config,
        tokenizer=tokenizer,
        weights=_weights(folder),
        eos_ids=frozenset(eos if isinstance(eos, list) else [] if eos is None else [eos]),
    )


def _weights(folder: Path) -> tuple[Path, ...]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        files = tuple(folder / Path(name).name for name in names)
    else:
        files = tuple(sorted(folder.glob("*.safetensors")))
    if not files:
        others = [path.name for path in folder.glob("*.bin")]
        why = f"; {others[0]} is not read, since a pickle can run code" if others else ""
        raise ConfigurationError(f"{folder} has no *.safetensors{why}: convert the weights first")
    if missing := [path.name for path in files if not path.is_file()]:
        raise ConfigurationError(f"{folder} lacks {', '.join(missing)}: download the model again")
    return files


def _from_hub(model: str, revision: str | None, download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:  # the cache first: a complete snapshot needs no network
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
            f"{model!r} is not on this machine: the first request downloads it (microsoft/phi-2: "
            '5.6 GB), or give model="demo", which comes with this package'
        )
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=_WANTED))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        at = f" at revision {revision}" if revision else ""
        raise ModelNotFound(f"the hub has no model {model!r}{at}") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigurationError(
            f"{model!r} is not in the cache and could not be downloaded ({type(error).__name__}): "
            "check the connection, or download it elsewhere and give its folder as model"
        ) from error


def _is_hub_id(model: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model) is not None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path} is missing: is this a model's folder?") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} is not a JSON object")
    return document
