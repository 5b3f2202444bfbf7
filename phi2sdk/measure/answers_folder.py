"""The folder of a run with a journal of rows: the journal, and a document about the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi2sdk import __version__
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.answers import Answer, AnswerJournal
from phi2sdk.measure.files import ANOTHER_COPY, read_json, write_file
from phi2sdk.measure.folder import differences

JOURNAL = "journal.jsonl"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class AnswersFolder:
    """The folder of a run.

    Attributes:
        path: The folder.
        document: Name of the JSON document about the run.
        kind: What the run is, such as ``a bulk run``.
        input: Name of a file that is made before the document, if there is one.
    """

    path: Path
    document: str
    kind: str
    input: str | None = None

    def check(self, configuration: Mapping[str, Any], *, resume: bool) -> dict[str, Any] | None:
        """Check that a run can begin or be resumed here. The folder is created if it is missing.

        Returns:
            The document of the run that is resumed; ``None`` for a new run.

        Raises:
            ConfigurationError: The folder has other files, or the run in it another configuration.
        """
        out = self.path
        if out.exists() and not out.is_dir():
            raise ConfigurationError(f"{out} is a file. Choose another output folder")
        exists = (out / self.document).exists()
        if exists and not resume:
            raise ConfigurationError(
                f"{out} already has {self.kind}. Continue it with --resume, or choose another "
                "output folder"
            )
        if resume and not exists:
            noun = self.kind.partition(" ")[2]
            raise ConfigurationError(f"{out} has no {noun}. Start one without --resume")
        if resume:
            return self._resumed(configuration)
        others = out.iterdir() if out.is_dir() else iter(())
        if any(not self._left_over(path) for path in others):
            noun = self.kind.partition(" ")[2]
            raise ConfigurationError(
                f"{out} has other files and no {noun}. Choose another output folder"
            )
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"{out} cannot be written: {error.strerror}. Choose another output folder"
            ) from error
        return None

    def begin(
        self,
        configuration: Mapping[str, Any],
        *,
        rows: int,
        digest: str,
        seen: Callable[[Answer], None] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> AnswerJournal:
        """Create the files of a new run, and return its journal.

        Args:
            configuration: What cannot change within the run.
            rows: Number of rows.
            digest: Changes if a row changes.
            seen: Receives each outcome (see :class:`AnswerJournal`).
            about: Further fields of the document.

        Raises:
            ConfigurationError: Another process has begun a run there, or the folder cannot be
                written.
        """
        journal = AnswerJournal(self.path / JOURNAL, rows, seen)
        try:
            if (self.path / self.document).exists():
                raise ConfigurationError(f"another process has just begun a run in {self.path}")
            document = {
                "schema": SCHEMA,
                "phi2sdk": __version__,
                "rows": rows,
                "input": digest,
                "configuration": configuration,
                **(about or {}),
            }
            write_file(self.path / self.document, json.dumps(document, indent=2) + "\n")
        except BaseException:
            journal.close()
            raise
        return journal

    def _resumed(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        document = self.read()
        now = json.loads(json.dumps(configuration))
        if changes := list(differences(document["configuration"], now)):
            raise ConfigurationError(
                f"{self.path} was made with another configuration: {'; '.join(changes[:5])}. "
                "Resume it with the same one, or choose another output folder"
            )
        return document

    def read(self) -> dict[str, Any]:
        """Return the document about the run.

        Raises:
            ConfigurationError: It is damaged.
        """
        path = self.path / self.document
        document = read_json(path)
        kinds = {"rows": int, "input": str, "configuration": dict}
        if not isinstance(document, dict) or not all(
            isinstance(document.get(name), kind) for name, kind in kinds.items()
        ):
            raise ConfigurationError(f"{path} is damaged: a field is missing. {ANOTHER_COPY}")
        return document

    def _left_over(self, path: Path) -> bool:
        """Return whether a file is left by a run that ended before it sent anything."""
        empty = path.name == JOURNAL and path.is_file() and path.stat().st_size == 0
        names = [name for name in (self.document, self.input) if name is not None]
        temporary = path.name.startswith(tuple(f".{name}." for name in names))
        return empty or path.name == self.input or temporary
