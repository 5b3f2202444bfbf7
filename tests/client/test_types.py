"""A type checker accepts the documented code, and reports wrong calls of the clients."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from phi2sdk.sampling import PARAMETERS, Sampling, SamplingParameters

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
_BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.M | re.S)

WRONG = """\
from phi2sdk import AsyncPhi2Client, Completion, Phi2Client, Phi2Error

def synchronous(phi: Phi2Client) -> None:
    phi.generate("x", max_token=5)  # max_tokens
    phi.generate("x", max_tokens="5")  # incompatible type "str"
    phi.stream("x", stop=3)  # incompatible type "int"
    phi.summarize("x", temprature=1.0)  # temperature
    phi.explain(topk=5)  # top_k
    phi.generate(["x"])  # incompatible type "list[str]"
    for one in phi.generate_many("Explain"):  # Need type annotation
        print(one)  # unreachable

def many(phi: Phi2Client) -> None:
    phi.generate_many(["x"], max_token=5)  # max_tokens
    phi.generate_many(["x"], temperature="hot")  # No overload variant
    phi.generate_many(b"Explain")  # incompatible type "bytes"
    for _, given in phi.generate_many(["x"], return_errors=True):
        given.text  # "Phi2Error" of "Completion | Phi2Error"
        if isinstance(given, Completion):
            print(given.text)

async def asynchronous(phi: AsyncPhi2Client) -> None:
    await phi.generate("x", max_token=5)  # max_tokens
    phi.stream("x", seed="7")  # incompatible type "str"
    await phi.summarize("x", minp=0.1)  # min_p
    phi.request("x", stop=1)  # incompatible type "int"
    async for _, completion in phi.generate_many(["x"]):
        print(completion.text)
    async for _, given in phi.generate_many(["x"], return_errors=True):
        given.text  # "Phi2Error" of "Completion | Phi2Error"
    phi.generate_many(["x"], top_k="5")  # No overload variant
"""


def mypy(*files: Path) -> list[str]:
    """Return the errors of ``mypy --strict``, one a line.

    The functions of an example's tests need no annotations. An option that disables that error
    would give each module a second entry in mypy's cache.
    """
    command = [sys.executable, "-m", "mypy", "--strict", "--no-color-output", "--no-error-summary"]
    ran = subprocess.run(
        [*command, "--config-file", "pyproject.toml", *map(str, files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode in (0, 1), ran.stderr
    lines = [line for line in ran.stdout.splitlines() if ": error: " in line]
    return [line for line in lines if not line.endswith("[no-untyped-def]")]


@pytest.mark.timeout(300)
def test_the_code_of_every_page_passes_a_strict_type_checker(tmp_path: Path) -> None:
    files = []
    for number, page in enumerate(PAGES):
        blocks = [dedent(block[2]) for block in _BLOCK.finditer(page.read_text())]
        if blocks:
            files.append(tmp_path / f"page_{number}_{page.stem.replace('-', '_')}.py")
            files[-1].write_text("\n".join(blocks))
    assert len(files) > 15
    code = {file.name: file.read_text().splitlines() for file in files}
    wrong = []
    for error in mypy(*files):
        path, line, _ = error.split(":", 2)
        # An assertion shows a value that the example has; its type may be wider.
        if not code[Path(path).name][int(line) - 1].lstrip().startswith("assert "):
            wrong.append(error)
    assert wrong == []


@pytest.mark.timeout(300)
def test_a_type_checker_reports_every_wrong_call_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(WRONG)
    reported: dict[int, str] = {}
    for error in mypy(file):
        _, line, message = error.split(":", 2)
        reported[int(line)] = reported.get(int(line), "") + message
    expected = {
        number: line.partition("  # ")[2]
        for number, line in enumerate(WRONG.splitlines(), 1)
        if "  # " in line
    }
    assert reported.keys() == expected.keys(), reported
    for number, said in expected.items():
        assert said in reported[number]


def test_the_keyword_arguments_are_the_fields_of_a_sampling() -> None:
    assert tuple(SamplingParameters.__annotations__) == PARAMETERS
    assert SamplingParameters.__total__ is False
    given: SamplingParameters = {"max_tokens": 3, "stop": ["a", "b"]}
    assert Sampling(**given).stop == ("a", "b")  # type: ignore[arg-type]
