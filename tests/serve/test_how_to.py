"""The example for Python in the how-to works as it is written."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from phi2sdk.emulator import Emulator
from tests.serve.serving import served

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"


async def test_the_example_of_the_page_prints_answers_of_the_gateway(
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = re.findall(r"```py\n(from openai .*?)```", PAGE.read_text(), re.DOTALL)
    routes = {"gpu": ("openai",), "safe": ("azure", "openai")}
    async with served(emulator, tmp_path, routes=routes) as gateway:
        monkeypatch.setenv("OPENAI_BASE_URL", gateway.gateway.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        names: dict[str, object] = {}
        await asyncio.to_thread(exec, example, names)
        names["client"].close()  # type: ignore[attr-defined]
    assert capsys.readouterr().out == "Tides follow the moon.\n Tides follow the moon."
