"""The folder of a bulk run: ``bulk.json``, the journal, and a copy of standard input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi2sdk import __version__
from phi2sdk.bulk.rows import STDIN
from phi2sdk.bulk.scan import Scan
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.answers import AnswerJournal
from phi2sdk.measure.files import ANOTHER_COPY, read_json, write_file
from phi2sdk.measure.folder import differences

RUN, JOURNAL = "bulk.json", "journal.jsonl"
SCHEMA = 1


def check_folder(
    out: Path, configuration: Mapping[str, Any], *, resume: bool
) -> dict[str, Any] | None:
    """Check that a run can begin or be resumed in a folder, which is created if it is missing.

    Returns:
        ``bulk.json`` of the run that is resumed; ``None`` for a new run.

    Raises:
        ConfigurationError: The folder has other files, or the run in it another configuration.
    """
    if out.exists() and not out.is_dir():
        raise ConfigurationError(f"{out} is a file. Choose another output folder")
    exists = (out / RUN).exists()
    if exists and not resume:
        raise ConfigurationError(
            f"{out} already has a bulk run. Continue it with --resume, or choose another "
            "output folder"
        )
    if resume and not exists:
        raise ConfigurationError(f"{out} has no bulk run. Start one without --resume")
    if not resume:
        others = out.iterdir() if out.is_dir() else iter(())
        if any(not _left_over(path) for path in others):
            raise ConfigurationError(
                f"{out} has other files and no bulk run. Choose another output folder"
            )
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"{out} cannot be written: {error.strerror}. Choose another output folder"
            ) from error
        return None
    document = _checked(out / RUN)
    now = json.loads(json.dumps(configuration))
    if changes := list(differences(document["configuration"], now)):
        raise ConfigurationError(
            f"{out} was made with another configuration: {'; '.join(changes[:5])}. Resume "
            "it with the same one, or choose another output folder"
        )
    return document


def begin(out: Path, configuration: Mapping[str, Any], found: Scan) -> AnswerJournal:
    """Create the files of a new run, and return its journal.

    Raises:
        ConfigurationError: Another process has begun a run there, or the folder cannot be written.
    """
    journal = AnswerJournal(out / JOURNAL, found.rows)
    try:
        if (out / RUN).exists():
            raise ConfigurationError(f"another process has just begun a run in {out}")
        document = {
            "schema": SCHEMA,
            "phi2sdk": __version__,
            "rows": found.rows,
            "input": found.digest,
            "configuration": configuration,
        }
        write_file(out / RUN, json.dumps(document, indent=2) + "\n")
    except BaseException:
        journal.close()
        raise
    return journal


def _checked(path: Path) -> dict[str, Any]:
    """Return ``bulk.json``.

    Raises:
        ConfigurationError: It is damaged.
    """
    document = read_json(path)
    kinds = {"rows": int, "input": str, "configuration": dict}
    if not isinstance(document, dict) or not all(
        isinstance(document.get(name), kind) for name, kind in kinds.items()
    ):
        raise ConfigurationError(f"{path} is damaged: a field is missing. {ANOTHER_COPY}")
    return document


def _left_over(path: Path) -> bool:
    """Return whether a file is left by a run that ended before it sent anything."""
    empty = path.name == JOURNAL and path.is_file() and path.stat().st_size == 0
    return empty or path.name == STDIN or path.name.startswith((f".{RUN}.", f".{STDIN}."))
