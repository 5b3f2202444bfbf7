from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from phi2sdk.backends.engine import memory
from phi2sdk.cli.app import app
from phi2sdk.demo import checkpoint_path
from phi2sdk.errors import ConfigurationError, OutOfMemory

GB = 10**9


@pytest.mark.parametrize(("dtype", "gb"), [("float32", 12.46), ("float16", 6.23)])
def test_phi2_at_its_whole_context_needs_the_published_bytes(dtype: str, gb: float) -> None:
    assert memory.plan(dtype, context=2048).total_gb == gb


def test_with_the_runtime_float16_comes_to_the_published_figure() -> None:
    assert round(memory.plan("float16", context=2048).peak_bytes / GB, 1) == 6.7


def test_phi2_has_its_parameters() -> None:
    assert memory.PHI2.parameters == 2_779_683_840


def test_a_models_shape_is_read_from_its_config() -> None:
    config = {
        "hidden_size": 160,
        "intermediate_size": 640,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "vocab_size": 2048,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    }
    shape = memory.Shape.of_config(config)
    assert (shape.head_dim, shape.kv_width, shape.tied_embeddings) == (40, 160, True)
    del config["vocab_size"]
    with pytest.raises(ConfigurationError, match="vocab_size"):
        memory.Shape.of_config(config)


def test_counted_parameters_are_those_of_the_bundled_weights() -> None:
    from safetensors import safe_open

    folder = checkpoint_path()
    shape = memory.Shape.of_config(json.loads((folder / "config.json").read_text()))
    with safe_open(folder / "model.safetensors", framework="np") as file:
        names = [name for name in file.keys() if name != "lm_head.weight"]  # noqa: SIM118
        stored = sum(file.get_tensor(name).size for name in names)
    assert shape.parameters == stored


def test_the_cache_grows_with_context_and_batch() -> None:
    one = memory.plan("float16", context=512)
    assert one.kv_bytes == 512 * 320 * 1024
    assert memory.plan("float16", context=1024).kv_bytes == 2 * one.kv_bytes
    assert memory.plan("float16", context=512, batch=3).kv_bytes == 3 * one.kv_bytes


def test_fewer_bits_need_less() -> None:
    sizes = [memory.plan(name).weights_bytes for name in ("float32", "float16", "int8", "int4")]
    assert sizes == sorted(sizes, reverse=True)


def test_the_table_names_the_devices_that_hold_each_row() -> None:
    rows = memory.table(batch=4, contexts=(2048,))
    fit = {need.dtype: devices for need, devices in rows}
    assert list(fit) == ["float32", "float16", "bfloat16", "int8", "int4"]
    assert "T4" not in fit["float32"]
    assert "L4" in fit["float32"]
    assert "T4" in fit["float16"]


def test_auto_takes_the_best_that_fits() -> None:
    assert memory.choose_dtype(20 * GB, gpu=False) == "float32"
    assert memory.choose_dtype(8 * GB, gpu=False) == "bfloat16"
    assert memory.choose_dtype(16 * GB, gpu=True) == "float16"
    with pytest.raises(OutOfMemory, match=r"5\.56.*4\.00 GB are free.*int4"):
        memory.choose_dtype(4 * GB, gpu=True)


def test_a_refusal_says_what_would_fit() -> None:
    need = memory.plan("float32", batch=16)
    with pytest.raises(OutOfMemory, match=r"batch 16.*16\.00 GB are free\. Use dtype int8"):
        memory.refuse_unless_fits(need, 16 * GB)
    memory.refuse_unless_fits(need, 40 * GB)
    with pytest.raises(OutOfMemory, match="No dtype of this model fits"):
        memory.refuse_unless_fits(need, GB)


@pytest.mark.parametrize(
    "settings", [{"dtype": "float8"}, {"context": 0}, {"context": 4096}, {"batch": 0}]
)
def test_a_plan_that_makes_no_sense_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        memory.plan(**settings)  # type: ignore[arg-type]


def test_the_command_prints_each_dtype_at_each_context_and_what_fits() -> None:
    shown = CliRunner().invoke(app, ["memory", "--device", "cpu"], env={"COLUMNS": ""})
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.output.splitlines()]
    assert lines[1][:3] == ["dtype", "context", "(tokens)"]
    rows = {(line[0], line[1]): line for line in lines if line and line[0] in memory.DTYPES}
    assert len(rows) == 15
    assert "12.46" in rows["float32", "2,048"]
    assert "6.23" in rows["float16", "2,048"]
    assert "GB free" in shown.output


def test_the_command_says_what_does_not_fit_here() -> None:
    asked = ["memory", "--device", "cpu", "--dtype", "float32", "--batch", "100000"]
    row = CliRunner().invoke(app, asked, env={"COLUMNS": ""}).output.splitlines()[2]
    assert row.split()[-5:] == ["no", "none", "of", "the", "list"]
