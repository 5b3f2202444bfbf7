"""Damage copies of a run's folder in every way, and see what the commands make of them.

``python -m tests.reliability.run_folders [MUTATIONS] [SEED] [FIRST]`` prints what it found. Each
mutation is a copy of one recorded run in which a file is cut, flipped, replaced by a link, or has a
field with another value; ``phi2 report``, ``phi2 diff``, ``phi2 plan --run`` and a comparison that
is resumed then read it. A command may do its work or refuse in one line. Everything else is a
finding: another exception, a warning, a line that steers a terminal, or a file that changed outside
of the folder.
"""

# ruff: noqa: T201
from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from phi2sdk.cli.app import app
from phi2sdk.compare import Settings, compare
from phi2sdk.config import Target
from phi2sdk.emulator import Emulator, ScriptedEngine
from phi2sdk.errors import ConfigurationError, InvalidRequest, Phi2Error
from phi2sdk.logprobs import TokenLogprob
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.prompt_logprobs import LogprobsFile, ScoredText
from phi2sdk.measure.workload import Item, Workload
from phi2sdk.pricing import Price
from phi2sdk.report.options import Analysis
from phi2sdk.secret import Secret
from phi2sdk.text import for_terminal
from tests.reliability.hostile import steers

WORKLOAD = Workload("p.txt", tuple(Item(f"p{i}", f"Paragraph {i}.", "an answer") for i in range(4)))
SETTINGS = Settings(repetitions=2, warmup=1, max_tokens=16, calibrate=False, identity=4)
PART = {"model": "per-token", "input": 1, "output": 2, "source": "a page", "date": "2026-11-01"}
PRICE = Price.model_validate({"parts": [PART]})
FILES = ("run.json", "records.jsonl", "identity.json", "logprobs.jsonl", "report.json")
DIGITS, HUGE, NAN, INFINITY = "@digits@", "@huge@", "@nan@", "@infinity@"
RAW = {DIGITS: "9" * 5000, HUGE: "1e999", NAN: "NaN", INFINITY: "-Infinity"}
"""What no value of Python becomes in JSON."""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, -(2**40), 2**53 + 1, 2**63, 10**400,
    0.5, -0.5, 1e308, -1e308, 5e-324, *RAW, "", "x",
    "\ud800", "\x00", "\x1b]8;;http://evil.example\x1b\\", "a\u202eb", "x" * 100_000,
    [], {}, [[]], [None], [1, "x"], {"": None}, {"x": {"x": 1}},
    "2026-11-20T12:00:00+00:00", "../../x",
)  # fmt: skip


@dataclass
class Found:
    """The outcome of the mutations."""

    mutations: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, finding: str) -> None:
        """Keep a finding, and print it at once."""
        self.findings.append(finding)
        print(finding, flush=True)


# ------------------------------------------------------------------ the run


def targets(urls: Mapping[str, str], key: str) -> list[Target]:
    settings = {"base_url": f"{urls['openai']}/v1", "api_key": Secret(key)}
    hf = {"endpoint": urls["hf"], "token": Secret(key)}
    return [Target("openai", "openai", settings, PRICE), Target("hf", "hf", hf, PRICE)]


def resume(folder: Path, asked: list[Target], *, again: bool = True) -> None:
    """Run the comparison, or resume it."""
    asyncio.run(
        compare(
            WORKLOAD,
            asked,
            out=folder,
            settings=SETTINGS,
            analysis=Analysis(volume=500),
            resume=again,
            budget_usd=1.0,
        )
    )


@contextmanager
def recorded() -> Iterator[tuple[Path, list[Target]]]:
    """A folder with everything that a run can have in it, and its targets, which answer."""
    engine = ScriptedEngine(lambda prompt: f"The answer to {prompt[-24:-9]}")
    with (
        Emulator(engine, providers=["openai", "hf"]).running() as emulator,
        tempfile.TemporaryDirectory() as temporary,
    ):
        urls = {name: getattr(emulator, name).url for name in ("openai", "hf")}
        asked = targets(urls, emulator.key)
        folder = Path(temporary) / "run"
        resume(folder, asked, again=False)
        RunFolder(folder).write_identity(_identity())
        with LogprobsFile(folder / "logprobs.jsonl") as file:
            told = ScoredText("hf", 0, "p0", "an answer", 0.5)
            file.asked(told)
            tokens = (TokenLogprob("an", None, 1), TokenLogprob("b", -0.5, None, ("c", -0.25)))
            file.told(ScoredText("hf", 0, "p0", "an answer", 0.25, tokens, None))
        yield folder, asked


def _identity() -> dict[str, Any]:
    regret = {"tokens": 5, "off": 1, "maximum": 2.3, "at_fork": 2.3, "first": 3, "at_first": 2.3}
    forks = [{"prompt": "p1", "repetitions": [0], "regret": regret}]
    evidence = {"p": 0.5, "p_by_precision": {"float32": 0.5}, "statistic": 0.1, "sentence": "Fair."}
    one = {
        "verdict": "consistent", "sentence": "hf: consistent.", "evidence": {"score": evidence},
        "smallest_detectable_kl": 0.1, "calls": 4, "used": 4, "tokens": 20, "p": 0.5,
        "candidates": {"int4": -2.0}, "temperature": {"value": 1.0, "low": 0.9, "high": 1.1},
        "left_out": {"failed": 0}, "logprobs": {"answers": 1, "tokens": 2, "mean_difference": 0.1},
    }  # fmt: skip
    return {
        "schema": "phi2sdk.identity/1",
        "records": 8,
        "told": 1,
        "calibration": {
            "model": "demo", "honest": ["float32"], "alpha": 0.05, "prompts": 4, "calls": 4,
            "tokens": 20, "entropy": 1.5, "entropy_by_prompt": {"p0": 1.5},
            "candidates": {"T=0.8": 0.2},
            "precisions": {"float32": {"kl_per_token": 0.0, "verdict": "consistent"}},
        },
        "targets": {"openai": one | {"verdict": "reference"}, "hf": one},
        "regret": {
            "hf": {
                "tie": 0.01, "answers": 4, "tokens": 20, "off": 1, "maximum": 2.3, "forks": forks
            }
        },
    }  # fmt: skip


# ------------------------------------------------------------------ the mutations


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a document."""
    if not isinstance(value, dict | list):
        return
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        yield from places(one, (*path, key))


def written(document: Any) -> str:
    text = json.dumps(document)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text


def in_a_document(change: Callable[[random.Random, Any], str]) -> Callable[..., str]:
    """A mutation of one document of a file: the file's own, or one of its lines."""

    def mutate(chance: random.Random, file: Path, outside: Path) -> str:
        lines = file.read_text(encoding="utf-8").split("\n")
        whole = file.suffix == ".json"
        at = 0 if whole else chance.randrange(max(1, len(lines) - 1))
        text = change(chance, json.loads("\n".join(lines) if whole else lines[at]))
        lines = [text] if whole else [*lines[:at], text, *lines[at + 1 :]]
        file.write_text("\n".join(lines), encoding="utf-8")
        return text[:60]

    return mutate


@in_a_document
def another_value(chance: random.Random, document: Any) -> str:
    *path, last = chance.choice(list(places(document)))
    inner = document
    for step in path:
        inner = inner[step]
    inner[last] = chance.choice(VALUES)
    return written(document)


@in_a_document
def a_field_less(chance: random.Random, document: Any) -> str:
    *path, last = chance.choice(list(places(document)))
    inner = document
    for step in path:
        inner = inner[step]
    del inner[last]
    return written(document)


@in_a_document
def another_name(chance: random.Random, document: Any) -> str:
    *path, last = chance.choice([p for p in places(document) if isinstance(p[-1], str)])
    inner = document
    for step in path:
        inner = inner[step]
    names = ("", "x", "\x1b[31m", "\ud800", "a:b", "__class__", "9" * 5000)
    inner[chance.choice(names)] = inner.pop(last)
    return written(document)


@in_a_document
def a_key_twice(chance: random.Random, document: Any) -> str:
    name = chance.choice(list(document))
    return written(document)[:-1] + f", {json.dumps(name)}: {written(chance.choice(VALUES))}}}"


@in_a_document
def deep_nesting(chance: random.Random, document: Any) -> str:
    depth = chance.choice((90, 150, 900, 5_000, 200_000))
    opened, closed = chance.choice((("[", "]"), ('{"x":', "}")))
    inside = opened * depth + "0" + closed * depth
    *path, last = chance.choice(list(places(document)))
    inner = document
    for step in path:
        inner = inner[step]
    inner[last] = "@here@"
    return written(document).replace('"@here@"', inside)


@in_a_document
def all_of_another_type(chance: random.Random, document: Any) -> str:
    return written(chance.choice(VALUES))


def truncated(chance: random.Random, file: Path, outside: Path) -> str:
    data = file.read_bytes()
    file.write_bytes(data[: chance.randrange(len(data))])
    return "truncated"


def flipped(chance: random.Random, file: Path, outside: Path) -> str:
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 1, 2, 8))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    return "flipped"


def lines_mixed(chance: random.Random, file: Path, outside: Path) -> str:
    lines = file.read_bytes().splitlines(keepends=True)
    one = chance.randrange(len(lines))
    kind = chance.choice(("twice", "missing", "first", "shuffled", "joined"))
    if kind == "shuffled":
        chance.shuffle(lines)
    elif kind == "joined":
        lines[one] = lines[one].rstrip(b"\n")
    else:
        line = lines.pop(one)
        again = {"twice": [line, line], "missing": [], "first": [line]}[kind]
        lines[0 if kind == "first" else one : 0 if kind == "first" else one] = again
    file.write_bytes(b"".join(lines))
    return f"a line {kind}"


def another_encoding(chance: random.Random, file: Path, outside: Path) -> str:
    name = chance.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7", "cp037"))
    file.write_bytes(file.read_text(encoding="utf-8").encode(name))
    return name


def linked(chance: random.Random, file: Path, outside: Path) -> str:
    """This file or one that a report writes is a link to a file outside, or to none."""
    name = chance.choice((file.name, "report.md", "report.html", "junit.xml"))
    link = file.with_name(name)
    there = chance.choice((outside / name, outside / "none", Path("/dev/null"), link))
    if link.exists() and there.parent == outside:
        shutil.copy(link, outside / name)
    link.unlink(missing_ok=True)
    link.symlink_to(there)
    return f"{name} -> {there.name}"


def missing(chance: random.Random, file: Path, outside: Path) -> str:
    file.unlink()
    return "missing"


def emptied(chance: random.Random, file: Path, outside: Path) -> str:
    file.write_bytes(
        chance.choice((b"", b"\n", b"\x00" * 100, b"null\n", b"[]\n", b"{}\n", b'"\n'))
    )
    return "emptied"


def no_file(chance: random.Random, file: Path, outside: Path) -> str:
    name = chance.choice((file.name, "report.md", "report.html"))
    file.with_name(name).unlink(missing_ok=True)
    if chance.random() < 0.5:
        os.mkfifo(file.with_name(name))
        return f"{name} is a pipe"
    file.with_name(name).mkdir()
    return f"{name} is a folder"


MUTATIONS: tuple[Callable[[random.Random, Path, Path], str], ...] = (
    *[another_value] * 8, a_field_less, a_field_less, another_name, another_name, a_key_twice,
    deep_nesting, all_of_another_type, truncated, flipped, flipped, lines_mixed, another_encoding,
    linked, missing, emptied, no_file,
)  # fmt: skip


# ------------------------------------------------------------------ what the commands make of it


def outcome(work: Callable[[], None]) -> str:
    """``done`` or ``refused``; otherwise the finding."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            work()
    except (ConfigurationError, InvalidRequest) as error:
        line = for_terminal(str(error)).replace("\n", " ")
        return "refused" if not steers(line) and len(line) < 2000 else f"a bad line: {line[:300]!r}"
    except Phi2Error:
        return "done"  # of the resumed comparison: a request failed
    except BaseException as error:  # the finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        own = [f for f in traceback.extract_tb(error.__traceback__) if "phi2sdk" in f.filename]
        at = own[-1] if own else where
        return f"{type(error).__name__}: {str(error)[:150]} ({at.filename[-40:]}:{at.lineno})"
    return "done"


def command(*arguments: str) -> Callable[[], None]:
    def work() -> None:
        ran = CliRunner().invoke(app, arguments)
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        assert steers(ran.output) == [], "the output steers a terminal"

    return work


def state(folder: Path, but: Path) -> dict[str, bytes | None]:
    """All that is below a folder, except for one part of it."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if but not in (path, *path.parents)
    }


def run_folders(mutations: int, seed: int, first: int = 0) -> Found:
    """Try so many mutations; the same seed and number give the same one."""
    found = Found()
    with recorded() as (whole, asked), tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        for number in range(first, first + mutations):
            chance = random.Random(f"{seed} {number}")
            folder, outside = here / "run", here / "outside"
            shutil.rmtree(here)
            shutil.copytree(whole, folder)
            outside.mkdir()
            (outside / "precious").write_text("precious")
            file = folder / chance.choice(FILES)
            mutation = chance.choice(MUTATIONS)
            what = f"{number}: {mutation.__name__} {file.name} {mutation(chance, file, outside)!r}"
            before = state(here, but=folder)
            for name, work in (
                ("report", command("report", str(folder))),
                ("diff", command("diff", str(whole), str(folder))),
                ("diff", command("diff", str(folder), str(whole), "--json")),
                ("plan", command("plan", "--run", str(folder), "--detect", "t=0.8")),
                ("resume", lambda: resume(folder, asked)),  # noqa: B023
            ):
                said = outcome(work)
                found.outcomes[f"{name} {said}" if said in ("done", "refused") else "found"] += 1
                if said not in ("done", "refused"):
                    found.add(f"{what}: {name}: {said}")
            if state(here, but=folder) != before:
                found.add(f"{what}: a file outside has changed")
            found.mutations += 1
            if found.mutations % 50 == 0:
                print(f"{found.mutations} mutations, {dict(found.outcomes)}", flush=True)
    return found


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    tried = run_folders(*(arguments + [1000, 1, 0][len(arguments) :]))
    print(f"{tried.mutations} mutations, {dict(tried.outcomes)}, {len(tried.findings)} findings")
    sys.exit(1 if tried.findings else 0)
