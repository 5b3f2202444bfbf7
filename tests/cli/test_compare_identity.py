"""The sampled arm, from the request to the verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from phi2sdk.compare import (
    Comparison,
    IdentityCheck,
    Settings,
    compare,
    opened,
    report_of,
    run_tokenizer,
)
from phi2sdk.demo.targets import demo_identity_workload
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.records import Key
from phi2sdk.measure.workload import Item, Workload
from phi2sdk.report.schema import published_schema
from phi2sdk.testing import Phi2Emulator

ONE = Workload("p.txt", (Item("1", "Tides are the rise of water."),))
OPEN = Workload("o.txt", tuple(Item(x, f"Write a paragraph about {x}.") for x in "abc"), "prompt")
QUICK = Settings(repetitions=1, warmup=0, max_tokens=48, calibrate=False)


async def test_a_target_with_another_temperature_is_found_and_honest_ones_pass(
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    report = await compare(
        ONE,
        ["local_float32", "openai", "openai_t08"],
        out=out,
        demo=True,
        settings=replace(QUICK, identity=48, identity_concurrency=16),
        identity=IdentityCheck(honest=("float32", "bfloat16")),
    )
    found = report.identity
    assert report.run.complete
    assert report.run.identity == 48
    assert report.run.requests == 3 + 3 * 48
    assert {name: one.verdict for name, one in found.items()} == {
        "local_float32": "reference",
        "openai": "consistent",
        "openai_t08": "different",
    }
    cold = found["openai_t08"]
    assert cold.temperature is not None
    assert 0.65 < cold.temperature.value < 0.92
    assert cold.sentence.startswith("openai_t08 samples differently (p = ")
    assert "): the closest candidate is temperature" in cold.sentence
    assert cold.closest is not None
    assert cold.closest.startswith("T=")
    assert found["openai"].power_by_candidate["T=0.7"] > 0.9
    assert found["openai"].smallest_detectable_kl is None
    assert cold.usd is not None
    assert report.decision is not None
    assert report.decision.choices["openai_t08"].identity == "different"
    assert report.targets["openai"].errors.attempted == 1  # the greedy arm alone
    assert report.identity_calibration is not None
    assert report.identity_calibration.entropy > 1
    document = json.loads((out / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads(published_schema()))
    # Rebuilt from the folder, without any weights.
    folder = RunFolder(out)
    assert report_of(folder, run_tokenizer(folder.read())).identity == found


async def test_without_weights_it_is_not_tested_and_the_report_says_how(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Tides.")
    report = await compare(
        ONE, ["openai"], out=tmp_path / "run", settings=replace(QUICK, identity=4)
    )
    assert report.identity["openai"].verdict == "not-tested"
    assert "--identity-model" in report.identity["openai"].sentence
    assert report.decision is not None
    assert not (tmp_path / "run" / "identity.json").exists()
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "Is it the same model?" in page


async def test_a_sampled_request_has_no_stops_and_a_seed_of_its_own(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Tides.\nInstruct: more")
    settings = replace(QUICK, identity=5)
    out = tmp_path / "run"
    await compare(ONE, ["openai"], out=out, settings=settings, identity_prompts=OPEN)
    bodies = [call.body for call in phi2_emulator.openai.calls if isinstance(call.body, dict)]
    sampled = [body for body in bodies if body.get("temperature") == 1.0]
    assert len(sampled) == 5
    assert len({body["seed"] for body in sampled}) == 5
    assert not any(body.get("stop") for body in sampled)
    asked = [body["prompt"].split(" about ")[1][0] for body in sampled]
    assert sorted(asked.count(x) for x in "abc") == [1, 2, 2]
    done = RunFolder(out).read().recorded.done
    texts = {record.text for key, record in done.items() if key.arm == "sampled"}
    assert texts == {"Tides.\nInstruct: more"}  # not cut


async def test_a_run_without_the_arm_stays_the_run_that_it_was(tmp_path: Path) -> None:
    async with opened(["local_float32"], demo=True) as (candidates, tokenizer):
        plain = Comparison(ONE, candidates, tokenizer, QUICK)
        with_arm = Comparison(
            ONE,
            candidates,
            tokenizer,
            replace(QUICK, identity=7),
            identity=demo_identity_workload(),
        )
        assert "identity" not in plain.configuration()
        assert with_arm.configuration()["identity"]["calls"] == 7
        left = with_arm.left()
        assert sum(key.arm == "sampled" for key in left) == 7
        assert len(left) == 8
        request = with_arm.request(next(key for key in left if key.arm == "sampled"))
        assert request.prompt.stop == ()
        assert request.sampling.temperature == 1.0
        again = with_arm.request(Key("sampled", "local_float32", "rivers", 0))
        assert (
            again.sampling.seed
            == with_arm.request(Key("sampled", "local_float32", "rivers", 0)).sampling.seed
        )


async def test_the_arm_is_resumed_and_examined_again(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Tides.")
    settings = replace(QUICK, identity=6)
    out = tmp_path / "run"
    await compare(ONE, ["openai"], out=out, settings=settings)
    records = out / "records.jsonl"
    lines = records.read_text(encoding="utf-8").splitlines(keepends=True)
    sampled = [i for i, line in enumerate(lines) if '"sampled"' in line]
    records.write_text("".join(lines[: sampled[len(sampled) // 2]]), encoding="utf-8")
    report = await compare(ONE, ["openai"], out=out, settings=settings, resume=True)
    assert report.run.complete
    with pytest.raises(ConfigurationError, match=r"identity"):
        await compare(ONE, ["openai"], out=out, settings=QUICK, resume=True)


def test_weights_that_are_not_here_are_told_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError, match="no model folder"):
        IdentityCheck("./nowhere")
    with pytest.raises(ConfigurationError, match="no precision 'float8'"):
        IdentityCheck(honest=("float8",))
    with pytest.raises(ConfigurationError, match="identity"):
        Settings(identity=-1)
