from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from phi2sdk.backends.engine import LocalModel
from phi2sdk.errors import ConfigurationError, OutOfMemory
from phi2sdk.sampling import Sampling


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def load(folder: Path) -> LocalModel:
    return LocalModel.load(folder, dtype="float32", device="cpu")


def test_a_missing_folder_says_what_to_give() -> None:
    with pytest.raises(ConfigurationError, match="no model folder"):
        LocalModel.load("/no/such/folder", device="cpu")
    with pytest.raises(ConfigurationError, match="no model folder"):
        LocalModel.load(Path("no/such"), device="cpu")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ConfigurationError, match=name):
        load(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"pytorch_model\.bin is not read"):
        load(folder)


def test_a_damaged_file_is_a_configuration_error(folder: Path) -> None:
    size = (folder / "model.safetensors").stat().st_size
    for content in (b"not safetensors at all", b"not safetensors at all".ljust(size)):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"are damaged|has a damaged"):
            load(folder)


def test_a_model_that_is_not_a_phi_is_refused(folder: Path) -> None:
    change(folder / "config.json", model_type="llama")
    with pytest.raises(ConfigurationError, match="Phi models only"):
        load(folder)


def test_an_unsupported_feature_is_refused_and_named(folder: Path) -> None:
    change(folder / "config.json", qk_layernorm=True)
    with pytest.raises(ConfigurationError, match="qk_layernorm"):
        load(folder)


def test_rotary_dimensions_that_do_not_pair_up_are_refused(folder: Path) -> None:
    rope = {"partial_rotary_factor": 0.3, "rope_theta": 10000.0, "rope_type": "default"}
    change(folder / "config.json", rope_parameters=rope)
    with pytest.raises(ConfigurationError, match="positive even number"):
        load(folder)


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    change(folder / "config.json", intermediate_size=64)
    with pytest.raises(ConfigurationError, match=r"mlp\.fc1\.weight has the shape"):
        load(folder)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.fc2.bias"]
    save_file(tensors, path)
    with pytest.raises(ConfigurationError, match=r"no model\.layers\.1\.mlp\.fc2\.bias"):
        load(folder)


def test_weights_in_several_files_are_one_model(folder: Path, tiny: LocalModel) -> None:
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    home = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
    for file in set(home.values()):
        save_file({n: tensors[n] for n in names if home[n] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": home}))
    sampling = Sampling(max_tokens=10)
    assert list(load(folder).tokens("a", sampling)) == list(tiny.tokens("a", sampling))
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(ConfigurationError, match=r"lacks model-1\.safetensors"):
        load(folder)


def test_progress_ends_at_the_whole(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    LocalModel.load(
        folder,
        dtype="float32",
        device="cpu",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1][0] >= 0.95 * seen[-1][1]


def test_what_does_not_fit_is_refused_before_a_byte_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (folder / "model.safetensors").stat().st_size
    (folder / "model.safetensors").write_bytes(b"never read".ljust(size))
    monkeypatch.setattr("phi2sdk.backends.engine.memory.available_ram", lambda: 100_000)
    with pytest.raises(OutOfMemory, match="GB are free"):
        load(folder)


def test_a_device_that_is_not_there_says_so(folder: Path) -> None:
    if not torch.backends.mps.is_available():
        with pytest.raises(ConfigurationError, match="not available"):
            LocalModel.load(folder, device="mps")
    with pytest.raises(ConfigurationError, match="no device"):
        LocalModel.load(folder, device="tpu")  # type: ignore[arg-type]
