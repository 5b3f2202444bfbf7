"""Write the output of a bulk run: one row for each id, in the order of the input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from phi2sdk.bulk.rows import load_parquet
from phi2sdk.measure.files import replaced

OutputFormat = Literal["jsonl", "parquet"]

COLUMNS: Mapping[str, str] = {
    "id": "string",
    "text": "string",
    "finish_reason": "string",
    "input_tokens": "int64",
    "output_tokens": "int64",
    "cost_usd": "float64",
    "target": "string",
    "attempts": "int64",
    "error": "string",
}
"""The columns and their Arrow types; unknown values are null."""
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_GROUP = 10_000
"""Rows of a row group of Parquet."""


def write_output(outcomes: Iterable[Mapping[str, Any]], path: Path, format: OutputFormat) -> None:
    """Write the outcomes to a file, completely or not at all.

    Raises:
        ConfigurationError: The disk is full, the folder cannot be written, or pyarrow is missing.
    """
    write = _write_parquet if format == "parquet" else _write_jsonl
    with replaced(path) as file:
        write(map(_record, outcomes), file)


def _record(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: answer.get("usd" if name == "cost_usd" else name) for name in COLUMNS}


def _write_jsonl(records: Iterator[dict[str, Any]], file: IO[bytes]) -> None:
    for record in records:
        file.write(_JSON.encode(record).encode() + b"\n")


def _write_parquet(records: Iterator[dict[str, Any]], file: IO[bytes]) -> None:
    load_parquet()
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(list(COLUMNS.items()))
    with parquet.ParquetWriter(file, schema) as writer:
        while group := list(islice(records, _GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema))
