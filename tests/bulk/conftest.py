"""A target whose provider is counted, and an input with ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from phi2sdk.config import Target
from phi2sdk.pricing import resolve
from phi2sdk.secret import Secret
from phi2sdk.testing import Phi2Emulator

PRICE = {"model": "per-token", "input": 1.0, "output": 2.0, "source": "s", "date": "2026-11-01"}


@pytest.fixture
def far(phi2_emulator: Phi2Emulator) -> Target:
    """An OpenAI-compatible target whose answers repeat the number of the paragraph."""
    phi2_emulator.answers(lambda prompt: f" Summary {number(prompt)}")
    server = phi2_emulator.openai
    settings = {
        "base_url": f"{server.url}/v1",
        "api_key": Secret(server.key),
        "model": server.engine.model,
        "server": "openai",
    }
    return Target("far", "openai", settings, resolve(PRICE))


def number(prompt: str) -> str:
    """The number in the text of :func:`rows_of`."""
    return prompt.partition("Paragraph ")[2].partition(" ")[0]


@pytest.fixture
def times_called(phi2_emulator: Phi2Emulator) -> Callable[[], Counter[str]]:
    """Counts the calls at the provider for each row."""

    def count() -> Counter[str]:
        bodies = (call.body for call in phi2_emulator.openai.calls if call.method == "POST")
        return Counter(number(body["prompt"]) for body in bodies)

    return count


def rows_of(count: int, first: int = 0) -> list[dict[str, object]]:
    return [
        {"id": f"row-{i}", "text": f"Paragraph {i} about the sea."}
        for i in range(first, first + count)
    ]


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_jsonl(path: Path | None) -> list[dict[str, object]]:
    assert path is not None
    return [json.loads(line) for line in path.read_text().splitlines()]
