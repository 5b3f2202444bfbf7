"""The data of tasks: local files, or what the hub's cache on this machine holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi2sdk.errors import ConfigurationError
from phi2sdk.parsing import parse_json

__all__ = ["LocalData", "bundled", "hub", "local_data"]

_SPLITS = ("test_split", "validation_split", "training_split", "fewshot_split")
"""The keys of a task that name a split. The first that exists of the first two is evaluated."""


@dataclass(frozen=True, slots=True)
class LocalData:
    """The data set of a task in files of this machine.

    Attributes:
        files: The files of each split.
    """

    files: Mapping[str, Sequence[Path]]

    def __call__(self, **_: Any) -> Any:
        """Return the data set, as the harness calls the ``custom_dataset`` of a task.

        Raises:
            ConfigurationError: A file is damaged.
        """
        from datasets import Dataset, DatasetDict, concatenate_datasets

        read = {".parquet": _parquet}
        return DatasetDict(
            {
                split: concatenate_datasets(
                    [read.get(file.suffix, _jsonl)(file, Dataset) for file in files]
                )
                for split, files in self.files.items()
            }
        )


def local_data(folder: Path, name: str, config: Mapping[str, Any]) -> LocalData | None:
    """Return the data of a task in the folder of ``--data``; ``None`` if there is none.

    The files are ``NAME/SPLIT.jsonl`` or ``NAME/SPLIT.parquet``, or one file ``NAME.jsonl`` or
    ``NAME.parquet`` for the split that is evaluated. NAME is the task, or its data set on the hub.

    Args:
        folder: The folder.
        name: Name of the task.
        config: The configuration of the task in the harness.
    """
    path, subset = config.get("dataset_path"), config.get("dataset_name")
    names = [name, *([f"{path}/{subset}"] if path and subset else []), *([path] if path else [])]
    splits = [config[key] for key in _SPLITS if config.get(key)]
    for one in names:
        found = {
            split: files for split in splits if (files := list(_files(folder / one, str(split))))
        }
        if found:
            return LocalData(found)
        for suffix in (".jsonl", ".parquet"):
            if splits and (file := folder / f"{one}{suffix}").is_file():
                return LocalData({splits[0]: [file]})
    return None


def bundled(config: Mapping[str, Any], folder: Path) -> LocalData | None:
    """Return the data of a task whose files lie beside its definition; ``None`` for other tasks."""
    files = (config.get("dataset_kwargs") or {}).get("data_files")
    if config.get("dataset_path") != "json" or not isinstance(files, dict):
        return None
    return LocalData({split: [folder / str(file)] for split, file in files.items()})


def with_data(name: str, config: Mapping[str, Any], data: LocalData) -> dict[str, Any]:
    """Return the configuration of a task that reads local data.

    Raises:
        ConfigurationError: No split can be evaluated, or the split of the examples is missing.
    """
    missing = {key: None for key in _SPLITS if config.get(key) not in data.files}
    changed = {**config, **missing, "custom_dataset": data, "dataset_kwargs": None}
    if not (changed.get("test_split") or changed.get("validation_split")):
        wanted = config.get("test_split") or config.get("validation_split")
        raise ConfigurationError(
            f"the data of {name} have no split {wanted}. Add {wanted}.jsonl or {wanted}.parquet"
        )
    return changed


@contextmanager
def hub(*, offline: bool) -> Iterator[None]:
    """Forbid downloads from the hub while the block runs.

    Args:
        offline: Whether only the cache is used. Otherwise the user's environment decides.
    """
    import datasets
    import huggingface_hub.constants as constants

    datasets.disable_progress_bars()
    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    try:
        if offline:
            datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _files(folder: Path, split: str) -> Iterator[Path]:
    for suffix in (".jsonl", ".parquet"):
        if (file := folder / f"{split}{suffix}").is_file():
            yield file
            return
    yield from sorted(folder.glob(f"{split}-*.parquet"))


def _jsonl(file: Path, kind: Any) -> Any:
    rows = []
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ConfigurationError(f"{file}, line {number}: {error}. Correct the file") from None
        if not isinstance(row, dict):
            raise ConfigurationError(f"{file}, line {number}: it is not an object")
        rows.append(row)
    return _made(file, lambda: kind.from_list(rows))


def _parquet(file: Path, kind: Any) -> Any:
    from datasets.table import InMemoryTable
    from pyarrow.parquet import read_table

    return _made(file, lambda: kind(InMemoryTable(read_table(file))))


def _made(file: Path, make: Any) -> Any:
    try:
        return make()
    except (OSError, TypeError, ValueError) as error:  # those of pyarrow are among them
        raise ConfigurationError(
            f"{file} is not a table with a type for each column: {error}. Correct the file"
        ) from error
