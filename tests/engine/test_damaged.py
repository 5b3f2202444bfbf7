"""A damaged checkpoint is refused with a typed error, or it answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from phi2sdk.backends.engine import LocalModel, memory
from phi2sdk.backends.engine.files import find_model, from_files
from phi2sdk.backends.engine.tokenizer import TextCodec
from phi2sdk.demo import checkpoint_path
from phi2sdk.errors import ConfigurationError, OutOfMemory
from phi2sdk.measure.tokens import load_tokenizer
from tests.engine.damaged import attempt, damages
from tests.reliability.hostile import hold_harmless

SAMPLE = damages(seed=1)[:90]


@pytest.mark.parametrize(("name", "damage"), SAMPLE, ids=[name for name, _ in SAMPLE])
def test_a_damaged_checkpoint_is_a_configuration_error_of_one_line_or_answers(
    name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    error = attempt(damage, tmp_path / "model")
    if error is not None:
        assert isinstance(error, ConfigurationError), name
        hold_harmless(error)
        assert "\n" not in str(error)
        assert len(str(error)) < 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_path(), tmp_path / "model"))


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("num_attention_heads", 0, "num_attention_heads must be an integer"),
        ("num_attention_heads", -4, "num_attention_heads must be an integer"),
        ("num_attention_heads", 7, "do not divide"),
        ("num_key_value_heads", 3, "do not divide"),
        ("hidden_size", "160", "hidden_size must be an integer"),
        ("vocab_size", 10**12, "vocab_size must be an integer"),
        ("vocab_size", 2**31 - 1, "parameters, but the weights have"),
        ("num_hidden_layers", 10**9, "parameters, but the weights have"),
        ("num_hidden_layers", 3, "the weights have 4 layers"),
        ("layer_norm_eps", float("nan"), "NaN is not a JSON number"),
        ("layer_norm_eps", 0, "layer_norm_eps must be a number greater than 0"),
        ("rope_parameters", [1], "rope_parameters must be an object"),
        ("rope_parameters", {"rope_theta": None}, "rope_theta must be a number"),
        ("rope_parameters", {"partial_rotary_factor": 1.5}, "partial_rotary_factor must be"),
        ("hidden_act", ["gelu"], "does not support hidden_act"),
        ("tie_word_embeddings", "yes", "tie_word_embeddings must be true or false"),
        ("max_position_embeddings", 3, "max_position_embeddings is 3, and must be at least 16"),
    ],
)
def test_a_value_that_cannot_be_is_named(
    folder: Path, field: str, value: object, said: str
) -> None:
    edit(folder / "config.json", **{field: value})
    with pytest.raises(ConfigurationError, match=said):
        LocalModel.load(folder, device="cpu")


@pytest.mark.parametrize("ids", [-1, 3072, True, "0", [0, [1]], {"a": 1}, 1.0])
def test_an_end_of_text_that_is_not_a_token_is_named(folder: Path, ids: object) -> None:
    edit(folder / "generation_config.json", eos_token_id=ids)
    with pytest.raises(ConfigurationError, match="eos_token_id must be tokens from 0 to 3071"):
        find_model(folder)


@pytest.mark.parametrize(
    "named", ["../model.safetensors", "/etc/passwd", "a/../../model.safetensors", "config.json"]
)
def test_an_index_reads_no_file_outside_of_its_folder(folder: Path, named: str) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "model.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": named}}), "utf-8")
    with pytest.raises(ConfigurationError, match="files beside it"):
        LocalModel.load(folder, device="cpu")


def test_files_may_be_links_as_in_the_cache_of_the_hub(folder: Path) -> None:
    for file in list(folder.iterdir()):
        file.replace(folder.parent / file.name)
        file.symlink_to(folder.parent / file.name)
    assert LocalModel.load(folder, device="cpu").encode("A lighthouse.")


def test_a_vocabulary_beyond_the_embedding_is_refused(folder: Path) -> None:
    path = folder / "tokenizer.json"
    model = json.loads(path.read_text("utf-8"))["model"]
    edit(path, model={**model, "vocab": {**model["vocab"], "beyond": 3072}})
    with pytest.raises(ConfigurationError, match="token 3072, and the model's vocabulary ends"):
        LocalModel.load(folder, device="cpu")


def test_a_tokenizer_that_would_cut_or_pad_texts_reads_them_whole(folder: Path) -> None:
    path, text = folder / "tokenizer.json", "A lighthouse stands by the sea."
    plain = TextCodec(path, 3072).encode(text)
    assert len(plain) > 3
    edit(
        path,
        truncation={"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 100},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "x",
        },
    )
    assert TextCodec(path, 3072).encode(text) == plain
    assert load_tokenizer(path).count(text) == len(plain)


def test_a_panic_of_the_tokenizers_library_is_a_configuration_error(folder: Path) -> None:
    """Its exception is no ``Exception``."""
    path = folder / "tokenizer.json"
    cut = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 5}
    edit(path, truncation=cut)
    tokenizer = Tokenizer.from_file(str(path))
    with pytest.raises(ConfigurationError, match="PanicException") as raised, from_files(path):
        tokenizer.encode("A lighthouse stands by the sea.")
    assert not isinstance(raised.value.__cause__, Exception)
    hold_harmless(raised.value, str(path))


def test_memory_that_runs_out_and_ctrl_c_keep_their_names() -> None:
    with pytest.raises(OutOfMemory, match="while model was read"), from_files("model"):
        raise MemoryError
    with pytest.raises(KeyboardInterrupt), from_files("model"):
        raise KeyboardInterrupt


def test_sizes_of_a_model_need_their_names() -> None:
    for field in ("hidden_size", "max_position_embeddings"):
        config = json.loads((checkpoint_path() / "config.json").read_text("utf-8"))
        del config[field]
        with pytest.raises(ConfigurationError, match=f"{field} is missing"):
            memory.Shape.of_config(config)
