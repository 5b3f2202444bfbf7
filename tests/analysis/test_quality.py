"""Quality of summaries: against known values, and beside chance."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi2sdk.analysis.quality import LONGEST, Quality, first_sentence, likeness, quality
from phi2sdk.analysis.text_similarity import (
    check_encoder,
    chrf,
    cosines,
    details,
    load_encoder,
    rouge_l,
    unsupported,
    words,
)
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.tokens import estimating_tokenizer
from tests.measure.making import answer, failure

TOKENIZER = estimating_tokenizer()


@pytest.mark.parametrize(
    ("a", "b", "score"),
    [  # from Google's rouge-score 0.1.2, without stemming
        (
            "Pollination is a rare type of cell.",
            "Pollination is a rare type of cell in which the liquid runs out of oxygen.",
            0.6363636363636364,
        ),
        ("Dogs bark.", "The cat's green-blue hat, 12 of them", 0.0),
        ("The cat, sat!", "cat sat the", 2 / 3),
    ],
)
def test_rouge_l_is_that_of_the_published_package(a: str, b: str, score: float) -> None:
    assert rouge_l(a, b) == pytest.approx(score, abs=1e-12)


def test_languages_without_spaces_are_compared_by_characters() -> None:
    assert words("私は猫。Café No_1") == ("私", "は", "猫", "café", "no", "1")
    assert rouge_l("猫が好き", "犬が好き") == 0.75


def test_chrf_is_that_of_sacrebleu() -> None:
    import sacrebleu

    a, b = "A cat sat upon a mat.", "The cat sat on the mat."
    assert chrf(a, b) == pytest.approx(sacrebleu.sentence_chrf(a, [b]).score / 100)
    assert (chrf("", ""), chrf("", "a"), chrf("a", " ")) == (1, 0, 0)


texts = st.text(alphabet="aB1 .é猫\x00\u202e\n,", max_size=20)


@given(texts, texts)
@settings(max_examples=100)
def test_every_score_is_in_range_and_full_for_equal_texts(a: str, b: str) -> None:
    for score in (rouge_l, chrf):
        assert 0 <= score(a, b) <= 1
        assert score(a, a) == pytest.approx(1)
    missing, everything = unsupported(a, b)
    assert 0 <= missing <= everything
    assert unsupported(a, a)[0] == 0
    assert a.strip().startswith(first_sentence(a))


def test_what_the_source_lacks_is_found() -> None:
    source = "In 1969 three astronauts of NASA, Neil Armstrong among them, flew 384,400 km."
    true = "Neil Armstrong flew in 1969 with 3 others of Nasa's, 384400 km."
    assert unsupported(true, source) == (0, 5)
    assert unsupported("In 1970 Buzz Aldrin flew 12.5 km for NASA.", source) == (4, 5)
    assert details("The sea is wide. It is deep. I know.") == frozenset()
    assert details("We met Anna; Bob met McKay.") == {"anna", "mckay"}


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One is here. Two is there.", "One is here."),
        ("It costs 3.50 dollars. Really.", "It costs 3.50 dollars."),
        ('He said "no." Then he left.', 'He said "no."'),
        ("no end at all", "no end at all"),
        ("", ""),
        ("猫です。犬です。", "猫です。"),
    ],
)
def test_the_first_sentence_ends_where_it_seems_to(text: str, first: str) -> None:
    assert first_sentence(text) == first


def test_similarity_has_that_of_shuffled_pairs_as_baseline() -> None:
    topics = [f"topic{i} word{i} thing{i}" for i in range(20)]
    references = {str(i): f"this is about {topic}" for i, topic in enumerate(topics)}
    right = likeness({p: [text] for p, text in references.items()}, references, rouge_l)
    assert right is not None
    assert (right.prompts, right.value.value, right.above_chance) == (20, 1, 1)
    assert right.baseline == pytest.approx(0.5)  # "this is about" is common to all
    empty_talk = likeness({p: ["this is about"] for p in references}, references, rouge_l)
    assert empty_talk is not None
    assert empty_talk.value.value == pytest.approx(2 / 3)
    assert empty_talk.above_chance == pytest.approx(0, abs=1e-9)


def test_one_prompt_has_no_chance_beside_it() -> None:
    found = likeness({"p": ["a b"]}, {"p": "a c"}, rouge_l)
    assert found is not None
    assert (found.value.value, found.baseline, found.above_chance) == (0.5, None, None)
    same = likeness({"p": ["a"], "q": ["a"]}, {"p": "a", "q": "a"}, rouge_l)
    assert same is not None
    assert (same.baseline, same.above_chance) == (1, None)
    assert likeness({"p": ["a"]}, {"q": "a"}, rouge_l) is None


class Letters:
    """Counts letters: an embedding without a model."""

    def encode(self, sentences: list[str]) -> list[list[float]]:
        return [[text.count(c) - (c == "x") * 3.0 for c in "abx"] for text in sentences]


def test_cosines_come_from_the_encoder_that_was_given() -> None:
    found = cosines(Letters(), ["aab", "", "aab"])
    assert set(found) == {"aab", ""}
    assert float(found["aab"] @ found["aab"]) == pytest.approx(1)
    records = [answer(str(i), text="ab" * (i + 1)) for i in range(6)]
    references = {str(i): "ba" * (i + 1) for i in range(6)}
    one = quality(records, TOKENIZER, references=references, sources={}, encoder=Letters())
    assert one is not None
    assert one.cosine is not None
    assert one.cosine.value.value == pytest.approx(1)
    assert "cosine" not in one.unknown


def test_what_cannot_be_measured_says_why() -> None:
    found = quality([answer("p", text="one")], TOKENIZER, references={}, sources={})
    assert found is not None
    assert found.rouge_l is found.chrf is found.cosine is found.faithful is None
    assert set(found.unknown) == {"rouge_l", "chrf", "cosine", "faithful"}
    assert quality([failure("p")], TOKENIZER, references={"p": "x"}, sources={}) is None


def test_without_sacrebleu_only_chrf_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from phi2sdk.analysis import text_similarity as similarity

    similarity._sentence_chrf.cache_clear()
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.chrf", None)
    found = quality([answer("p")], TOKENIZER, references={"p": "one"}, sources={})
    assert found is not None
    assert found.chrf is None
    assert "phi2sdk[quality]" in found.unknown["chrf"]
    assert found.rouge_l is not None


def test_length_and_verbosity() -> None:
    long = "One two three. Four five six. Seven eight nine."
    records = [answer(f"p{i}", text=long, repetition=r) for i in range(8) for r in (0, 1)]
    references = {f"p{i}": "One two three." for i in range(8)}
    found = quality(records, TOKENIZER, references=references, sources={})
    assert found is not None
    assert found.tokens is not None
    assert found.tokens.value == TOKENIZER.count(long)
    assert found.length_ratio is not None
    assert found.length_ratio.value == 3
    assert found.past_first_sentence is not None
    assert found.past_first_sentence.value == pytest.approx(2 / 3)


@given(
    st.lists(st.tuples(texts, st.none() | texts, st.booleans()), max_size=5),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_no_number_is_undefined_whatever_was_answered(
    rows: list[tuple[str, str | None, bool]], summaries: bool, embedded: bool
) -> None:
    records = [
        answer(str(i), text=text.strip()) if ok else failure(str(i))
        for i, (text, _, ok) in enumerate(rows)
    ]
    references = {str(i): reference for i, (_, reference, _) in enumerate(rows) if reference}
    sources = {str(i): f"source {i}" for i in range(len(rows))} if summaries else {}
    found = quality(
        records,
        TOKENIZER,
        references=references,
        sources=sources,
        encoder=Letters() if embedded else None,
    )
    if found is None:
        return
    for one in (found.rouge_l, found.chrf, found.cosine, found.faithful):
        if one is not None:
            numbers = (one.value.value, one.value.low, one.value.high, one.baseline)
            assert all(n is None or np.isfinite(n) for n in (*numbers, one.above_chance))
    if found.past_first_sentence is not None:
        assert 0 <= found.past_first_sentence.value <= 1


def test_a_quality_model_is_loaded_from_its_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="no quality model"):
        check_encoder(tmp_path / "missing")
    library = ModuleType("sentence_transformers")
    asked: list[tuple[str, dict[str, object]]] = []

    class SentenceTransformer:
        def __init__(self, path: str, **options: object) -> None:
            asked.append((path, options))
            if not (tmp_path / "config.json").exists():
                raise OSError("no config.json")

        def encode(self, sentences: list[str]) -> list[list[float]]:
            return [[1.0, 0.0] for _ in sentences]

    library.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    library.__spec__ = None
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(ConfigurationError, match=r"no config\.json"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert load_encoder(tmp_path).encode(["a"]) == [[1.0, 0.0]]
    assert asked[-1] == (str(tmp_path), {"local_files_only": True, "trust_remote_code": False})


def test_a_quality_model_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install sentence-transformers"):
        load_encoder(tmp_path)


def test_an_answer_of_megabytes_is_measured_by_its_beginning() -> None:
    """A provider that ignores `max_tokens` does not decide how long a report takes."""
    text = "The Moon of 1969 moves water. " * 350_000
    sources = references = {str(n): f"The Moon of {n} moves the water." for n in range(3)}

    def measured(length: int) -> Quality:
        records = [answer(str(n), text=text[:length]) for n in range(3)]
        found = quality(records, TOKENIZER, references=references, sources=sources)
        assert found is not None
        return found

    long, short = measured(len(text)), measured(LONGEST)
    assert replace(long, tokens=None) == replace(short, tokens=None)
    assert long.tokens is not None
    assert long.tokens.value is not None
    assert long.tokens.value > 1_000_000
