"""Endpoints that tell log-probabilities, asked in a comparison."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from phi2sdk.compare import (
    Comparison,
    IdentityCheck,
    Settings,
    compare,
    report_of,
    run_tokenizer,
)
from phi2sdk.config import Target
from phi2sdk.emulator import Emulator, ScriptedEngine
from phi2sdk.errors import ConfigurationError
from phi2sdk.logprobs import TokenLogprob
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.prompt_logprobs import (
    LOGPROBS,
    LogprobsFile,
    ScoredText,
    chosen,
    read_logprobs,
)
from phi2sdk.measure.records import Key, Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.measure.workload import Item, Workload
from phi2sdk.pricing import resolve
from phi2sdk.secret import Secret
from phi2sdk.testing import Phi2Emulator
from tests.measure.making import answer

ONE = Workload("p.txt", (Item("1", "Tides are the rise of water."),))
SETTINGS = Settings(repetitions=1, warmup=0, max_tokens=32, calibrate=False, identity=6, logprobs=3)
CHECK = IdentityCheck(honest=("float32", "bfloat16"))


async def test_an_honest_endpoint_is_consistent_and_int4_is_named(
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    targets = ["local_float32", "hf", "openai", "hf_int4"]
    settings = replace(SETTINGS, identity=10, logprobs=10)
    report = await compare(ONE, targets, out=out, demo=True, settings=settings, identity=CHECK)
    found = {name: one.logprobs for name, one in report.identity.items()}
    assert found["local_float32"] is None
    honest, told, coarse = found["hf"], found["openai"], found["hf_int4"]
    assert honest is not None
    assert told is not None
    assert coarse is not None
    for one in (honest, told, coarse):
        assert (one.requests, one.answers, one.left_out) == (10, 10, {})
        assert one.usd is not None
        assert one.usd > 0
    assert (honest.p99_difference or 0) < 1e-3 < 0.02 < (coarse.mean_difference or 0)
    assert (told.p99_difference or 0) < 1e-3
    assert (honest.top1, told.top1) == (None, 1.0)  # TGI does not report the most likely token
    assert report.identity_calibration is not None
    precisions = report.identity_calibration.precisions
    assert precisions["float32"].logprobs is None
    band = precisions["bfloat16"].logprobs
    assert band is not None
    assert band.tokens == honest.tokens
    assert (honest.p99_difference or 0) < (band.p99_difference or 0)
    assert (band.mean_difference or 0) < (coarse.mean_difference or 0)
    assert report.run.requests == 4 + 4 * 10  # they are counted apart
    assert (honest.verdict, honest.named) == (told.verdict, told.named) == ("consistent", None)
    assert (coarse.verdict, coarse.named) == ("different", "int4")
    assert report.identity["hf_int4"].verdict == "different"
    assert report.identity["hf_int4"].closest == "int4"
    for name in ("hf", "openai"):
        assert report.identity[name].verdict != "different"
    for page in ("report.md", "report.html"):
        text = (out / page).read_text(encoding="utf-8")
        assert "log-probabilities of" in text
        assert "10 requests" in text
        assert "consistent with the reference weights" in text
        assert "They are those of int4 quantization" in text
    folder = RunFolder(out)
    assert report_of(folder, run_tokenizer(folder.read())).identity == report.identity


async def test_a_run_that_was_killed_asks_for_the_rest_alone(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    out = tmp_path / "run"
    phi2_emulator.answers(" Tides.")
    await compare(ONE, ["hf"], out=out, settings=SETTINGS)
    assert _asked(phi2_emulator) == 3
    lines = (out / LOGPROBS).read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) == 6
    # Killed while the second text was in flight, with the line of its reply half written.
    (out / LOGPROBS).write_text("".join(lines[:3]) + lines[3][:20], encoding="utf-8")
    report = await compare(ONE, ["hf"], out=out, settings=SETTINGS, resume=True)
    assert _asked(phi2_emulator) == 4
    told = read_logprobs(out / LOGPROBS)
    assert [one.error for one in told][1] == "Interrupted"
    found = report.identity["hf"].logprobs
    assert found is not None
    assert found.requests == 3
    assert found.mean_difference is None  # no weights here
    assert "could not be compared (3 requests" in (out / "report.md").read_text(encoding="utf-8")


async def test_a_failure_is_counted_and_one_that_stays_ends_the_asking(
    tmp_path: Path, phi2_emulator: Phi2Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phi2sdk.backends.hf import HFBackend
    from phi2sdk.errors import BadResponse, RateLimited

    raised = [RateLimited("busy"), BadResponse("no prefill"), RateLimited("not asked")]

    async def fails(self: HFBackend, text: str, *, timeout: float | None = None) -> None:
        raise raised.pop(0)

    monkeypatch.setattr(HFBackend, "prompt_logprobs", fails)
    phi2_emulator.answers(" Tides.")
    report = await compare(ONE, ["hf"], out=tmp_path / "run", settings=SETTINGS)
    told = read_logprobs(tmp_path / "run" / LOGPROBS)
    assert [one.error for one in told] == ["RateLimited", "BadResponse"]
    found = report.identity["hf"].logprobs
    assert found is not None
    assert found.requests == 2


async def test_log_probabilities_are_requested_within_the_budget(tmp_path: Path) -> None:
    price = resolve(
        {"model": "per-token", "input": 100, "output": 200, "source": "s", "date": "2026-11-01"}
    )
    engine = ScriptedEngine(" Tides rise.")
    async with Emulator(engine, key="key", providers=["openai"]) as emulator:
        settings = {
            "base_url": f"{emulator.openai.url}/v1",
            "api_key": Secret("key"),
            "model": emulator.openai.engine.model,
        }
        target = Target("metered", "openai", settings, price)
        candidate = Candidate.of(target)
        comparison = Comparison(ONE, [candidate], estimating_tokenizer(), SETTINGS)
        async with candidate.client:
            budget = comparison.budget(100)
            answers = budget.forecast(comparison.left())
            forecast = comparison.forecast(budget)
            assert forecast.requests == answers.requests + 3
            assert forecast.usd > answers.usd
            folder = RunFolder(tmp_path / "run")
            await comparison.run(folder, budget=budget)
            scored = read_logprobs(tmp_path / "run" / LOGPROBS)
            charged = sum(one.usd or 0 for one in scored)
            assert [one.error for one in scored] == [None] * 3
            assert 0 < charged <= forecast.usd - answers.usd
            spent = budget.spending.spent
            assert comparison.budget(100, folder.recorded()).spending.spent == pytest.approx(spent)
            # A budget that suffices for one of the three texts, and not for the others.
            (tmp_path / "run" / LOGPROBS).unlink()
            budget = comparison.budget(spent - charged / 3, folder.recorded())
            await comparison.run(folder, resume=True, budget=budget)
            assert budget.stopped
            assert budget.spending.spent <= spent - charged / 3
            assert len(read_logprobs(tmp_path / "run" / LOGPROBS)) < 3
            assert comparison.forecast(budget, folder.recorded()).requests > 0
            await comparison.run(folder, resume=True, budget=comparison.budget(100))
            assert len(read_logprobs(tmp_path / "run" / LOGPROBS)) == 3


def test_the_number_of_texts_is_at_least_0_and_needs_sampled_answers() -> None:
    with pytest.raises(ConfigurationError, match="--identity"):
        replace(SETTINGS, identity=0)
    with pytest.raises(ConfigurationError, match="logprobs"):
        replace(SETTINGS, logprobs=-1)


def test_the_reference_s_answers_are_sent_where_it_has_any_that_can_be() -> None:
    def done(target: str, *texts: str) -> dict[Key, Record]:
        keys = [Key("sampled", target, f"p{at}", 0) for at in range(len(texts))]
        return {
            key: replace(answer(text=text, raw=text), key=key)
            for key, text in zip(keys, texts, strict=True)
        }

    records = done("ref", " a \ud83d b", "", " yes", " no") | done("hf", " mine")
    assert chosen(records, "hf", "ref", 1) == [("p2", " yes")]
    assert chosen(records, "hf", "ref", 9) == [("p2", " yes"), ("p3", " no")]
    assert chosen(done("ref", "") | done("hf", " mine"), "hf", "ref", 9) == [("p0", " mine")]
    assert chosen({}, "hf", None, 9) == ()


def test_what_was_told_reads_back_and_damage_is_named(tmp_path: Path) -> None:
    file = tmp_path / LOGPROBS
    assert read_logprobs(file) == ()
    asked = ScoredText("hf", 0, "a", " naïve \u2028 end", 0.5)
    tokens = (TokenLogprob("a", None, 1), TokenLogprob("b", -0.5, None, ("c", -0.25)))
    done = replace(asked, usd=0.25, tokens=tokens, error=None)
    with LogprobsFile(file) as open_file:
        open_file.asked(asked)
        open_file.told(done)
        open_file.asked(replace(asked, number=1))
    assert read_logprobs(file) == (done, replace(asked, number=1))
    file.write_text("[]\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="damaged"):
        read_logprobs(file)


def _asked(emulator: Phi2Emulator) -> int:
    bodies = [call.body for call in emulator.hf.calls if isinstance(call.body, dict)]
    return sum("decoder_input_details" in body.get("parameters", {}) for body in bodies)


def test_a_text_in_the_file_may_hold_characters_that_only_python_takes_for_line_breaks(
    tmp_path: Path,
) -> None:
    file, text = tmp_path / LOGPROBS, "one\u2028two\x85three"
    asked = {"target": "hf", "number": 0, "prompt": "1", "text": text, "usd": None}
    file.write_text(json.dumps(asked, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_logprobs(file) == (ScoredText("hf", 0, "1", text),)
    with LogprobsFile(file):
        assert read_logprobs(file) == (ScoredText("hf", 0, "1", text),)
