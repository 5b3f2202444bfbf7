from __future__ import annotations

from pathlib import Path

import pytest

from phi2sdk.demo import checkpoint_path
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.tokens import (
    estimating_tokenizer,
    find_tokenizer,
    given_tokenizer,
    load_tokenizer,
    local_model,
)


def test_the_demo_checkpoint_brings_its_own_tokenizer() -> None:
    tokenizer = load_tokenizer(checkpoint_path())
    assert not tokenizer.estimated
    assert tokenizer.count("") == 0
    assert tokenizer.encode("water and light") == tokenizer.encode("water and light")


def test_a_file_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="is not a tokenizer"):
        load_tokenizer(tmp_path)


def test_without_phi2_in_the_cache_counts_are_marked_as_estimates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert find_tokenizer().estimated
    cached = tmp_path / "models--microsoft--phi-2" / "snapshots" / "abc"
    cached.mkdir(parents=True)
    source = checkpoint_path() / "tokenizer.json"
    (cached / "tokenizer.json").write_bytes(source.read_bytes())
    assert find_tokenizer().name == "microsoft/phi-2"
    assert not find_tokenizer().estimated


def test_a_given_file_is_named_so_that_another_one_is_told_apart(tmp_path: Path) -> None:
    source = checkpoint_path() / "tokenizer.json"
    given = given_tokenizer(source)
    assert given.name.startswith("tokenizer.json ")
    assert given_tokenizer(source.parent).name == given.name
    other = tmp_path / "tokenizer.json"
    other.write_bytes(source.read_bytes() + b"\n")
    assert given_tokenizer(other).name != given.name
    assert given_tokenizer(other).encode("tides") == given.encode("tides")


def test_a_local_checkpoint_is_counted_with_its_own_tokenizer() -> None:
    settings = {"model": str(checkpoint_path())}
    model = local_model(
        {
            "far": {"backend": "hf", "settings": {}},
            "near": {"backend": "local", "settings": settings},
        }
    )
    assert model == str(checkpoint_path())
    assert not find_tokenizer(model).estimated
    assert find_tokenizer("demo").encode("tides") == find_tokenizer(model).encode("tides")
    assert local_model({"far": {"backend": "hf", "settings": {}}}) is None


def test_an_estimate_is_near_what_a_real_tokenizer_counts() -> None:
    text = "The tides follow the moon, and the sun helps; spring tides come twice a month."
    assert 14 <= estimating_tokenizer().count(text) <= 24


@pytest.mark.parametrize("name", ["estimate", "demo"])
def test_half_a_surrogate_pair_in_an_answer_is_counted_as_a_character(name: str) -> None:
    """JSON can say it, so a provider can send it."""
    tokenizer = estimating_tokenizer() if name == "estimate" else find_tokenizer("demo")
    text = "a \ud800 b"
    assert tokenizer.encode(text) == tokenizer.encode("a \ufffd b")
    assert "".join(tokenizer.pieces(text)) == text
