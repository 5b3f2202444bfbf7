"""Make pools of sampled, scored answers, from which simulated runs draw their calls.

    python -m bench.identity_pools FOLDER [--other CHECKPOINT] [--scale 1.0]

Each author's answers to 16 open prompts at temperature 1 (or as the author does it), 24 tokens
each, encoded as in every examination and scored under the honest precisions and all candidates. The
other model is one of another training seed: ``python -m training --seed 1 --out CHECKPOINT``.
An existing pool is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from phi2sdk.identity.alternatives import Alternative, parse
from phi2sdk.identity.call_table import CallTable
from phi2sdk.identity.pilot import Setting, author_prompts, score, write
from phi2sdk.identity.weights import PRECISIONS, Loader, Weights

SUBJECTS = (
    "tides", "glass", "the printing press", "rivers", "maps", "clocks", "birds", "a good harvest",
    "salt", "bread", "memory", "winter", "music", "trade", "bridges", "gravity",
)  # fmt: skip
PROMPTS = tuple(f"Instruct: Write a paragraph about {subject}.\nOutput:" for subject in SUBJECTS)
MAX_TOKENS = 24
SIZES = {
    "float32": 8000,
    "int4": 2400,
    "t=0.8": 1600,
    "top_p=0.9": 800,
    "template=qa": 800,
    "other": 1200,
    "bfloat16": 4200,
    "float16": 4200,
}


def make(folder: Path, name: str, count: int, other: Path | None, seed: int) -> None:
    """Write and score the answers of one author."""
    weights = Weights(model="demo", honest=PRECISIONS, device="cpu")
    alternative = Alternative(name)
    if name == "other":
        alternative = parse(f"other={other}")
    elif name not in PRECISIONS:
        alternative = parse(name)
    suspects = Loader(replace(weights, others=(str(other),) if name == "other" else ()))
    loader = Loader(weights)
    setting = Setting(PROMPTS, "instruct", MAX_TOKENS, count, seed)
    if name in PRECISIONS:
        author = loader.load(name)
    elif name == "other":
        author = suspects.load(suspects.weights.candidates[-1])
    else:
        author = suspects.load(alternative.weights or PRECISIONS[0])
    seen = author_prompts(alternative, setting)
    asked = [seen[sent] for sent in setting.asked()]
    written = write(author, setting, asked, alternative.sampling(MAX_TOKENS), seed)
    suspects.free()
    tables, _ = score(loader, setting.format, {name: written})
    save(folder / f"{name}.npz", replace(tables[name], texts=tuple(written.texts)))


def save(path: Path, calls: CallTable) -> None:
    """Write a pool to a file."""
    columns: dict[str, np.ndarray] = {}
    for one in fields(calls):
        value = getattr(calls, one.name)
        if isinstance(value, Mapping):
            columns |= {f"{one.name}:{name}": column for name, column in value.items()}
        elif one.name == "texts":
            columns["texts"] = np.array(json.dumps(value))
        elif value is not None:
            columns[one.name] = value
    np.savez_compressed(path, **columns)  # type: ignore[arg-type]


def load(path: Path) -> CallTable:
    """Return the pool that :func:`save` wrote."""
    columns: dict[str, Any] = {}
    with np.load(path) as file:
        for key in file:
            kind, _, name = key.partition(":")
            if name:
                columns.setdefault(kind, {})[name] = file[key]
            else:
                columns[kind] = file[key]
    return CallTable(**{**columns, "texts": tuple(json.loads(str(columns["texts"])))})


def pools(folder: Path) -> Iterator[tuple[str, CallTable]]:
    """Yield the existing pools by name."""
    for name in SIZES:
        if (folder / f"{name}.npz").exists():
            yield name, load(folder / f"{name}.npz")


def main() -> int:
    """Make the missing pools."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--other", type=Path, help="a checkpoint of another training seed")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the sizes of the pools")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for number, (name, size) in enumerate(SIZES.items()):
        if (args.folder / f"{name}.npz").exists() or (name == "other" and args.other is None):
            continue
        begun = time.perf_counter()
        make(args.folder, name, round(size * args.scale), args.other, 7000 + number)
        print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
