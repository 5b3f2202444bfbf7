"""The token diff of two answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.analysis.agreement import common_prefix
from phi2sdk.demo import checkpoint_path
from phi2sdk.measure.tokens import ReferenceTokenizer, estimating_tokenizer, load_tokenizer
from phi2sdk.report.html.prompts import GONE, NEW, SAME, token_diff

TOKENIZERS = (estimating_tokenizer(), load_tokenizer(checkpoint_path()))
TEXTS = st.text(st.sampled_from("ab \n.é日😀😃\u0301_1²\u202e"), max_size=20)


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.name)
@given(reference=TEXTS, other=TEXTS)
def test_the_segments_form_both_answers(
    tokenizer: ReferenceTokenizer, reference: str, other: str
) -> None:
    found = token_diff(reference, other, tokenizer)
    assert "".join(text for kind, text in found.segments if kind != GONE) == other
    assert "".join(text for kind, text in found.segments if kind != NEW) == reference
    assert all(text for _, text in found.segments)


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.name)
@given(reference=TEXTS, other=TEXTS)
def test_the_first_divergence_is_that_of_the_agreement(
    tokenizer: ReferenceTokenizer, reference: str, other: str
) -> None:
    found = token_diff(reference, other, tokenizer)
    if reference == other:
        assert found.divergence is None
    else:
        shared = common_prefix(tokenizer.encode(reference), tokenizer.encode(other))
        assert found.divergence == shared


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.name)
@given(text=TEXTS)
def test_pieces_are_the_text(tokenizer: ReferenceTokenizer, text: str) -> None:
    pieces = tokenizer.pieces(text)
    assert "".join(pieces) == text
    assert all(pieces)


def test_a_deletion_comes_before_its_insertion() -> None:
    found = token_diff("the big cat sat", "the small cat sat", estimating_tokenizer())
    assert found.segments == (
        (SAME, "the"),
        (GONE, " big"),
        (NEW, " small"),
        (SAME, " cat sat"),
    )
    assert found.divergence == 1


def test_tokens_that_share_a_character_are_never_split() -> None:
    found = token_diff("a 😀 b", "a 😃 b", TOKENIZERS[1])
    assert (GONE, "😀") in found.segments
    assert (NEW, "😃") in found.segments
