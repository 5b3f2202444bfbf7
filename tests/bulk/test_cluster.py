"""``phi2 bulk --ray``, with Ray in an environment of its own; only with ``-m cluster``.

bench/bulk.py --cluster has the long scenarios: three nodes, of which some fail.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.common import peer_python
from phi2sdk.bulk import Question, bulk
from phi2sdk.bulk.cluster import Job, _Sender
from phi2sdk.bulk.rows import Place, Row
from phi2sdk.config import Target
from phi2sdk.errors import ConfigurationError
from phi2sdk.sampling import Sampling
from phi2sdk.testing import Phi2Emulator
from tests.bulk.conftest import read_jsonl, rows_of, write_jsonl

SCRIPT = """
import asyncio, json, sys
from phi2sdk.bulk import Question, bulk
from phi2sdk.sampling import Sampling

asked = Question(sampling=Sampling(max_tokens=8))
result = asyncio.run(bulk("in.jsonl", "out", "far", question=asked, ray="local", rate=200,
                          budget_usd=1.0, concurrency=8))
print(json.dumps([result.answered, result.again, result.stopped]))
"""


@pytest.mark.cluster
@pytest.mark.timeout(300, func_only=True)
def test_a_local_cluster_answers_each_row_once(
    far: Target, tmp_path: Path, times_called: Callable[[], Counter[str]]
) -> None:
    settings = far.settings
    (tmp_path / "phi2.toml").write_text(
        f'[targets.far]\nbackend = "openai"\nbase_url = "{settings["base_url"]}"\n'
        f'model = "{settings["model"]}"\nserver = "openai"\n'
        'api_key = { env = "OPENAI_API_KEY" }\n'
        'price = { model = "per-token", input = 1.0, output = 2.0, source = "s", '
        "date = 2026-11-01 }\n"
    )
    write_jsonl(tmp_path / "in.jsonl", rows_of(300))
    done = subprocess.run(
        [peer_python("ray"), "-c", SCRIPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [300, 0, None]
    found = read_jsonl(tmp_path / "out" / "output.jsonl")
    assert [row["id"] for row in found] == [f"row-{i}" for i in range(300)]
    assert set(times_called().values()) == {1}


async def test_a_sender_returns_every_outcome(far: Target, phi2_emulator: Phi2Emulator) -> None:
    """An outcome that arrives during an exchange is returned by the next one."""
    sender = _Sender(Job([far], Question(sampling=Sampling(max_tokens=8)), 8), None)
    await sender.open()
    rows = [Row(n, f"row-{n}", f"Paragraph {n} x", Place(0, n + 1)) for n in range(60)]
    found: dict[int, str | None] = {}
    has = 0
    while len(found) < 60:
        given = rows[len(found) + has :][: 10 - has]
        outcomes = await asyncio.wait_for(sender.exchange(given), 10)
        has += len(given) - len(outcomes)
        found |= {n: answer.text for n, answer in outcomes if answer is not None}
    await sender.close()
    assert found == {n: f"Summary {n}" for n in range(60)}


async def test_without_ray_the_message_has_the_command_that_installs_it(
    far: Target, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(2))
    with pytest.raises(ConfigurationError, match=r"pip install 'phi2sdk\[ray\]'"):
        await bulk(path, tmp_path / "out", far, ray="local")
