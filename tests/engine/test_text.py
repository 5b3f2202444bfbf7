from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.tokenizer import TextCodec
from phi2sdk.errors import ConfigurationError


@given(text=st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_survives_encoding_and_decoding(tiny: LocalModel, text: str) -> None:
    assert tiny.decode(tiny.encode(text)) == text


@given(ids=st.lists(st.integers(1, 399), max_size=30))
@settings(max_examples=150, deadline=None)
def test_pieces_join_to_what_the_tokenizer_itself_decodes(
    tiny: LocalModel, tiny_folder: Path, ids: list[int]
) -> None:
    reader = tiny.detokenizer()
    text = "".join(reader.feed(id) for id in ids) + reader.flush()
    assert text == Tokenizer.from_file(str(tiny_folder / "tokenizer.json")).decode(ids)


def test_a_character_spread_over_tokens_comes_whole(tiny: LocalModel) -> None:
    ids = tiny.encode("🙃")  # not in the training text: four byte tokens
    reader = tiny.detokenizer()
    pieces = [reader.feed(id) for id in ids]
    assert len(ids) > 1
    assert pieces[-1] == "🙃"
    assert not any(pieces[:-1])


def test_an_unfinished_character_is_flushed_as_a_replacement(tiny: LocalModel) -> None:
    reader = tiny.detokenizer()
    assert reader.feed(tiny.encode("🙃")[0]) == ""
    assert reader.flush() == "\ufffd"


def test_a_row_of_the_embedding_without_a_token_has_no_text(tiny_folder: Path) -> None:
    codec = TextCodec(tiny_folder / "tokenizer.json", 450)
    assert codec.decode([430]) == ""


def test_a_tokenizer_that_is_not_byte_level_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(path))
    with pytest.raises(ConfigurationError, match="byte-level"):
        TextCodec(path, 1)
    path.write_text("{}")
    with pytest.raises(ConfigurationError, match="not a tokenizer"):
        TextCodec(path, 1)
