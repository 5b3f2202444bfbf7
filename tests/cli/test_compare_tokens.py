"""One tokenizer counts the tokens of every target, for the throughput and for TPOT alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi2sdk.analysis.metrics import TTFT, tpot
from phi2sdk.compare import Settings, compare
from phi2sdk.config import Target
from phi2sdk.demo import checkpoint_path
from phi2sdk.emulator import Schedule
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.tokens import load_tokenizer
from phi2sdk.measure.workload import Item, Workload
from phi2sdk.report.notes import notes
from phi2sdk.secret import Secret
from phi2sdk.testing import Phi2Emulator

PARAGRAPHS = Workload("p.txt", tuple(Item(str(i), f"Paragraph {i} on tides.") for i in range(3)))
SETTINGS = Settings(repetitions=2, warmup=0, max_tokens=64, calibrate=False)
TOKENIZER = checkpoint_path() / "tokenizer.json"


async def test_every_streamed_answer_has_a_tpot_that_the_throughput_can_be_reconciled_with(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    # A chat route without usage in its stream, and answers that are cut at a stop.
    phi2_emulator.answers(" Tides follow the moon, and the sea follows them.\nInstruct: more")
    for server in (phi2_emulator.azure, phi2_emulator.openai):
        server.schedule = Schedule(first=0.01, per_token=0.002)
    azure = Target(
        "azure_chat",
        "azure",
        {
            "style": "chat",
            "endpoint": phi2_emulator.azure.url,
            "key": Secret(phi2_emulator.key),
        },
    )
    out = tmp_path / "run"
    report = await compare(
        PARAGRAPHS, [azure, "openai"], out=out, settings=SETTINGS, tokenizer=TOKENIZER
    )
    tokenizer = load_tokenizer(TOKENIZER)
    records = RunFolder(out).read().recorded.done.values()
    for name, target in report.targets.items():
        latency, answers = target.latency, [r for r in records if r.key.target == name]
        assert len(answers) == target.errors.ok == 6
        assert latency.tpot is not None, name
        assert latency.tpot.n == 6
        kept, first = tokenizer.count(answers[0].text), tokenizer.count("Tides")
        assert target.tokens.output_kept == 6 * kept
        assert target.throughput.tokens_per_chunk is not None
        each = [one for record in answers for one in tpot(tokenizer).values(record)]
        assert latency.tpot.p50.value in each
        waited = sum(one for record in answers for one in TTFT.values(record))
        spent = waited + sum(each) * (kept - first)
        assert target.throughput.tokens_per_second == pytest.approx(6 * kept / spent)


async def test_tokens_that_are_estimated_are_said_to_be(
    tmp_path: Path, phi2_emulator: Phi2Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    phi2_emulator.answers(" Tides.")
    report = await compare(PARAGRAPHS, ["openai"], out=tmp_path / "a", settings=SETTINGS)
    assert any("--tokenizer" in note for note in notes(report))
    report = await compare(
        PARAGRAPHS, ["openai"], out=tmp_path / "b", settings=SETTINGS, tokenizer=TOKENIZER
    )
    assert not any("--tokenizer" in note for note in notes(report))
