from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pytest

from phi2sdk.analysis.retokenize import as_written
from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.likelihood import log_likelihood, log_probabilities
from phi2sdk.demo import checkpoint_path
from phi2sdk.sampling import Sampling

PROMPT = "Instruct: Write a paragraph about tides.\nOutput:"


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load(checkpoint_path(), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def drawn(model: LocalModel) -> list[tuple[tuple[int, ...], str]]:
    """Answers of which the tokens are known."""
    return list(_drawn(model, 120))


def _drawn(model: LocalModel, count: int) -> Iterator[tuple[tuple[int, ...], str]]:
    for seed in range(count):
        steps = list(model.tokens(PROMPT, Sampling(max_tokens=20, temperature=1.0, seed=seed)))
        text = "".join(step.text for step in steps)
        if text and "\ufffd" not in text:
            yield tuple(step.id for step in steps if not step.special), text


def test_most_of_what_the_split_of_the_tokenizer_loses_is_recovered(
    model: LocalModel, drawn: list[tuple[tuple[int, ...], str]]
) -> None:
    prompt = model.encode(PROMPT)
    spelt = as_written(model, [(PROMPT, text) for _, text in drawn])
    encoded = [model.encode(text) for _, text in drawn]
    wrote, found, plain = (
        log_likelihood(model, [(prompt, ids) for ids in splits])
        for splits in ([ids for ids, _ in drawn], spelt, encoded)
    )
    assert sum(tuple(e) != ids for e, (ids, _) in zip(encoded, drawn, strict=True)) >= 8
    assert (found >= wrote - 1e-3).mean() > 0.9
    assert (found >= plain - 1e-3).all()
    assert (wrote - found).clip(0).sum() < 0.5 * (wrote - plain).clip(0).sum()
    kept = sum(ids == found for (ids, _), found in zip(drawn, spelt, strict=True))
    assert kept >= 0.9 * len(drawn)


def test_every_spelling_reads_as_the_text(model: LocalModel) -> None:
    texts = [" naïve café 日本語 😀", "  two  spaces\n\n", "x", " Tides rise.", "\t1.5e-3"]
    spelt = as_written(model, [(PROMPT, text) for text in texts])
    assert [model.decode(list(ids)) for ids in spelt] == texts


def test_an_empty_text_has_no_tokens_and_does_not_affect_others(model: LocalModel) -> None:
    empty, text = as_written(model, [(PROMPT, ""), (PROMPT, " Tides")])
    assert empty == ()
    assert model.decode(list(text)) == " Tides"
    assert as_written(model, []) == []


def test_a_text_that_fills_the_context_is_not_split_beyond_it(model: LocalModel) -> None:
    room = model.context_length - len(model.encode(PROMPT))
    ids = model.encode(" Tjxq" * model.context_length)
    full, beyond = model.decode(ids[:room]), model.decode(ids[: room + 50])
    spelt = as_written(model, [(PROMPT, full), (PROMPT, beyond)])
    assert len(spelt[0]) <= room
    assert model.decode(list(spelt[0])) == full
    assert spelt[1] == tuple(model.encode(beyond))


def test_probabilities_of_alternatives_are_those_of_texts_that_have_them(
    model: LocalModel,
) -> None:
    prompt, ids = model.encode(PROMPT), model.encode(" Tides rise and fall.")
    others = model.encode(" glass")[:1]
    places = [[ids[0], *others], *([id] for id in ids[1:])]
    (found,) = log_probabilities(model, [(prompt, ids)], [places])
    assert [len(values) for values in found] == [2, *[1] * (len(ids) - 1)]
    whole, other = log_likelihood(model, [(prompt, ids), (prompt, others)])
    assert sum(values[0] for values in found) == pytest.approx(whole, abs=1e-3)
    assert found[0][1] == pytest.approx(other, abs=1e-3)
    (small,) = log_probabilities(model, [(prompt, ids)], [places], logits_bytes=1)
    flat = [[*chain.from_iterable(values)] for values in (small, found)]
    assert flat[0] == pytest.approx(flat[1], abs=1e-4)
