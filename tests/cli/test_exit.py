"""Leaving without closing: the interpreter ends at once, with its own status, and says nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import pytest

from phi2sdk.emulator.faults import Fault
from phi2sdk.testing import Phi2Emulator

TARGETS = ("openai", "clarifai", "local")

SCRIPTS = {
    "an iterator is kept": """
        chunks = iter(phi.stream("x", max_tokens=200)); next(chunks)
    """,
    "a stream is left early": """
        stream = phi.stream("x", max_tokens=200)
        for chunk in stream: break
    """,
    "the loop exits with a status": """
        stream = phi.stream("x", max_tokens=200)
        for chunk in stream: sys.exit(4)
    """,
    "many requests are in flight": """
        for index, answer in (answers := phi.generate_many(["a", "b", "c"], max_tokens=50)): break
    """,
    "only a request was made": """
        phi.generate("x", max_tokens=4)
    """,
    "a forked child frees its parent's stream": """
        chunks = iter(phi.stream("x", max_tokens=200)); next(chunks)
        child = os.fork()
        if child == 0:
            del chunks
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    """,
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("left", SCRIPTS)
def test_the_interpreter_ends_at_once_and_quietly(
    left: str, target: str, phi2_emulator: Phi2Emulator
) -> None:
    for server in (phi2_emulator.openai, phi2_emulator.clarifai):
        if "many" in left:
            server.faults.push(Fault("hang"), times=2)
        elif "request" not in left:
            server.faults.push(Fault("endless", after=1))
    setting = ', model="demo"' if target == "local" else ""
    body = dedent(SCRIPTS[left])
    head = "import os, sys\nfrom phi2sdk import Phi2Client\n"
    script = f"{head}phi = Phi2Client({target!r}{setting})\n{body}"
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ},
        check=False,
    )
    assert done.returncode == (4 if "status" in left else 0), done.stderr
    noise = [line for line in done.stderr.splitlines() if "fork" not in line]
    assert noise == []
