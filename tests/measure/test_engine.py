"""The check of the local engine, on a CPU and with a small shape."""

from __future__ import annotations

import json
import re
from functools import partial

import pytest
import torch
import typer

from phi2sdk import demo
from phi2sdk.backends.engine import LocalModel, memory
from phi2sdk.backends.engine.memory import Shape
from phi2sdk.backends.engine.phi import Matrix
from phi2sdk.cli import doctor
from phi2sdk.measure import engine

SMALL = Shape(
    hidden=64, intermediate=128, layers=2, heads=2, kv_heads=2, vocab=3072, context_length=1024
)


def load(dtype: str = "float32") -> LocalModel:
    return LocalModel.load(demo.checkpoint_path(), dtype=dtype, device="cpu")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def reference() -> LocalModel:
    return load()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PROMPTS", 6)
    monkeypatch.setattr(engine, "TOKENS", 12)
    monkeypatch.setattr(engine, "SECONDS", 0.1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    check = partial(engine.check_engine, shape=SMALL)
    monkeypatch.setattr(engine, "check_engine", check)


def test_the_engine_agrees_with_itself(reference: LocalModel) -> None:
    difference, greedy, batched = engine.agreement(reference, reference)
    assert difference == 0
    assert greedy == batched == engine.Agreement(answers=6, different=0, ties=0)


def test_differences_of_bfloat16_are_ties(reference: LocalModel) -> None:
    difference, greedy, batched = engine.agreement(reference, load("bfloat16"))
    assert 0 < difference <= engine.ROUNDING["bfloat16"]
    assert greedy.ok
    assert batched.ok


def test_a_kernel_that_computes_wrongly_is_found(reference: LocalModel) -> None:
    wrong = load()
    for block in wrong.phi.blocks:
        assert isinstance(block.narrow, Matrix)
        block.narrow.weight.mul_(1.01)
    difference, _, batched = engine.agreement(reference, wrong)
    assert difference > engine.ROUNDING["float32"]
    assert batched.ok  # wrong in the same way


def test_a_batch_that_mixes_up_its_rows_is_found(
    reference: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = load()
    slots = mixed.slots

    def swapped(count: int, *, length: int | None = None) -> object:
        made = slots(count, length=length)
        if count > 1:
            launch = made._launch
            monkeypatch.setattr(
                made,
                "_launch",
                lambda chunks: (launch(chunks), made._last.copy_(made._last.roll(1)))[0],
            )
        return made

    monkeypatch.setattr(mixed, "slots", swapped)
    _, greedy, batched = engine.agreement(reference, mixed)
    assert greedy.ok
    assert not batched.ok


def test_the_speed_has_all_its_figures_and_says_how_many_layers_fit(
    reference: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = engine.measure_speed(reference, SMALL, lambda step: None)
    assert speed.layers == 2
    assert set(speed.tokens_per_s) == {1, 16, 64}
    assert min(*speed.tokens_per_s.values(), speed.read_gb_per_s, speed.bandwidth_share) > 0
    assert 0 < speed.gap_ms <= speed.join_gap_ms
    monkeypatch.setattr(memory, "available_ram", lambda: 2 * 10**9)
    many = Shape(layers=32)
    fitting = engine._fitting(many, reference)
    assert 2 <= fitting.layers < 32


def test_random_weights_have_the_shape_and_the_dtype_of_the_model() -> None:
    phi = engine.random_phi(SMALL, load("bfloat16").phi)
    assert phi.config.shape == SMALL
    assert phi.dtype == torch.bfloat16
    assert engine.bytes_per_token(phi) == 2 * (SMALL.matrix_parameters + 3072 * 64)


@pytest.mark.usefixtures("small")
def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    doctor._check_engine("float32", "cpu", json=False)
    out, err = capsys.readouterr()
    assert out.startswith("cpu, float32; ")
    assert re.search("greedy answers equal to float32 on the CPU +6 of 6\n", out)
    assert "64 in flight (2 of 32 layers)" in out
    assert "engine: decoding 16 requests ..." in err
    doctor._check_engine("float32", "cpu", json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["greedy"] == {"answers": 6, "different": 0, "ties": 0}
    assert set(found["speed"]["tokens_per_s"]) == {"1", "16", "64"}
    assert found["versions"]["torch"] == torch.__version__


@pytest.mark.usefixtures("small")
def test_wrong_answers_are_named_and_end_with_3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = engine.Agreement(answers=6, different=3, ties=1)
    monkeypatch.setattr(engine, "agreement", lambda *models: (0.0, wrong, wrong))
    with pytest.raises(typer.Exit) as ended:
        doctor._check_engine("float32", "cpu", json=False)
    assert ended.value.exit_code == 3
    said = "3 of 6; 1 differ at a tie, where rounding decides; 2 are wrong"
    assert said in capsys.readouterr().out
