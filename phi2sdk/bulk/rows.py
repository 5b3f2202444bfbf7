"""Read the rows of JSON Lines, CSV and Parquet files one by one, however large the files are.

The order of the rows is that of the file names and of the rows in each file, so the number of a row
stays the same when the input is read again.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import IO, Any, NamedTuple

from phi2sdk.errors import ConfigurationError, InvalidRequest
from phi2sdk.measure.files import replaced
from phi2sdk.parsing import parse_json
from phi2sdk.text import untrusted

STDIN = "stdin.jsonl"
"""The copy of standard input in the folder of a run, which can be read more than once."""
_BATCH = 1024
_MOST_NAMES = 8


class Place(NamedTuple):
    """The place of a row: its file, and its line (Parquet: its row), from 1."""

    file: int
    line: int


class Row(NamedTuple):
    """One row of the input.

    Attributes:
        n: Its number in the whole input, from 0.
        id: Its id; the number from 1 if the input has no ids.
        text: The text to send.
        place: Where it begins.
    """

    n: int
    id: str
    text: str
    place: Place


@dataclass
class Input:
    """The files of a run, which are read again for each session.

    Attributes:
        files: In the order in which they are read.
        text: Name of the column with the texts.
        id: Name of the column with the ids; ``None``: ``id``, if a row has it.
    """

    files: tuple[Path, ...]
    text: str = "text"
    id: str | None = None
    _states: dict[Path, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        given: str | Path,
        folder: Path,
        *,
        text: str = "text",
        id: str | None = None,
        again: bool = False,
    ) -> Input:
        """Find the files of an input.

        Args:
            given: A file, a pattern such as ``data/*.parquet``, or ``-`` for standard input, which
                is JSON Lines.
            folder: Takes the copy of standard input.
            text: See the attributes.
            id: See the attributes.
            again: Use the copy of standard input that exists.

        Raises:
            ConfigurationError: There is no such file, or its kind is not known.
        """
        if str(given) == "-":
            copy = folder / STDIN
            if not again:
                with replaced(copy) as to:
                    _copy(sys.stdin.buffer, to)
            return cls((copy,), text, id)
        named = Path(given)
        files = (named,) if named.exists() else tuple(map(Path, sorted(glob(str(given)))))
        if not files:
            raise ConfigurationError(
                f"there is no file {given}. Name a .jsonl, .csv or .parquet file, a pattern of "
                "such files in quotation marks, or - for standard input"
            )
        for file in files:
            if file.suffix.lower() not in _READERS:
                raise ConfigurationError(
                    f"{file}: the input is .jsonl, .csv or .parquet. Convert the file, or leave it "
                    "out of the pattern"
                )
        return cls(files, text, id)

    @property
    def parquet(self) -> bool:
        """Return whether all files are Parquet."""
        return all(file.suffix.lower() == ".parquet" for file in self.files)

    def rows(self) -> Iterator[Row]:
        """Yield the rows.

        Raises:
            ConfigurationError: A file cannot be read, or has changed since it was read first.
            InvalidRequest: A row is wrong; the message names the file and the row.
        """
        n = 0
        for number, file in enumerate(self.files):
            try:
                self._same(file)
                for line, entry in _READERS[file.suffix.lower()](file, self):
                    yield self._row(n, entry, Place(number, line))
                    n += 1
            except OSError as error:
                raise ConfigurationError(
                    f"{file} cannot be read: {error.strerror or error}. Make it readable, then try "
                    "again"
                ) from error
            except UnicodeDecodeError as error:
                raise InvalidRequest(
                    f"{file}: not UTF-8 (byte {error.object[error.start]:#04x}); save it as UTF-8"
                ) from None

    def where(self, place: Place) -> str:
        """Return the place of a row for a message."""
        file = self.files[place.file]
        return f"{file}, {'row' if file.suffix.lower() == '.parquet' else 'line'} {place.line}"

    def _same(self, file: Path) -> None:
        state = file.stat()
        now = (state.st_size, state.st_mtime_ns)
        if self._states.setdefault(file, now) != now:
            raise ConfigurationError(
                f"{file} changed while it was used. Restore it, then resume the run with --resume"
            )

    def _row(self, n: int, entry: Mapping[str, Any], place: Place) -> Row:
        column = self.id or "id"
        text, id = entry.get(self.text), entry.get(column)
        if not text or not isinstance(text, str):
            raise InvalidRequest(f"{self.where(place)}: {_fault(self.text, text, entry)}")
        if isinstance(id, bool) or not isinstance(id, str | int | None):
            raise InvalidRequest(f"{self.where(place)}: {column} is not a string or a whole number")
        if id in (None, ""):
            if self.id is not None:
                raise InvalidRequest(f"{self.where(place)}: {_fault(column, id, entry)}")
            id = n + 1
        id = str(id)
        if not (text.isascii() and id.isascii()) and _surrogate(text + id):
            raise InvalidRequest(f"{self.where(place)}: a lone surrogate is not valid Unicode")
        return Row(n, id, text, place)


def _fault(column: str, value: object, entry: Mapping[str, Any]) -> str:
    if value is None:
        return f"{column} is missing; the row has {_named(entry)}"
    return f"{column} is empty" if value == "" else f"{column} is not a string"


def _surrogate(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


def _jsonl(file: Path, given: Input) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.isspace():
                continue
            try:
                entry = parse_json(line)
            except ValueError as error:
                why = str(error).removeprefix("it is ").replace("at line 1, ", "at ")
                raise InvalidRequest(f"{file}, line {number}: {why}") from None
            if not isinstance(entry, dict):
                raise InvalidRequest(
                    f'{file}, line {number}: expected an object like {{"{given.text}": "..."}}'
                )
            yield number, entry


def _csv(file: Path, given: Input) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, None)
            if header is None:
                return
            _check_columns(file, header, given)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise InvalidRequest(
                        f"{file}, line {reader.line_num}: it has {len(cells)} columns, and the "
                        f"header has {len(header)}"
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise InvalidRequest(f"{file}, line {reader.line_num}: not CSV ({error})") from None


def _parquet(file: Path, given: Input) -> Iterator[tuple[int, Mapping[str, Any]]]:
    load_parquet()
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            _check_columns(file, names, given)
            wanted = [name for name in (given.text, given.id or "id") if name in names]
            line = 1
            for batch in opened.iter_batches(_BATCH, columns=wanted):
                columns = [batch.column(name).to_pylist() for name in wanted]
                for cells in zip(*columns, strict=True):
                    yield line, dict(zip(wanted, cells, strict=True))
                    line += 1
    except pyarrow.ArrowException as error:
        why = untrusted(str(error), 120)
        raise InvalidRequest(f"{file}: not a Parquet file, or damaged ({why})") from None


_Reader = Callable[[Path, Input], Iterable[tuple[int, Mapping[str, Any]]]]
_READERS: Mapping[str, _Reader] = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}


def load_parquet() -> None:
    """Import pyarrow.

    Raises:
        ConfigurationError: It is not installed; the message has the command that installs it.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"Parquet needs {error.name or 'pyarrow'}, which is not installed. Install it with: "
            "python -m pip install 'phi2sdk[bulk]'"
        ) from error


def _check_columns(file: Path, names: Iterable[str], given: Input) -> None:
    for name in (given.text, given.id):
        if name is not None and name not in names:
            option = "--column" if name == given.text else "--id"
            raise InvalidRequest(
                f"{file}: there is no column {name}; it has {_named(names)}. Name another one with "
                f"{option}, or correct the file"
            )


def _named(names: Iterable[str]) -> str:
    """Return the names of columns, made safe for the terminal."""
    every = list(names)
    shown = [repr(untrusted(str(name), 40)) for name in every[:_MOST_NAMES]]
    more = len(every) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _copy(source: IO[bytes], to: IO[bytes]) -> None:
    while block := source.read(1 << 20):
        to.write(block)
