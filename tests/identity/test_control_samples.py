from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phi2sdk.backends.engine import LocalModel
from phi2sdk.demo import checkpoint_path
from phi2sdk.errors import ContextLengthExceeded
from phi2sdk.identity.control_samples import sample_precisions, sample_texts
from phi2sdk.identity.weights import Loader, Weights
from phi2sdk.sampling import Sampling

PROMPTS = ["Instruct: Write a paragraph about tides.\nOutput:", "What is glass?", "Explain clouds."]
SAMPLING = Sampling(max_tokens=8, temperature=1.0)


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load(checkpoint_path(), dtype="float32", device="cpu")


def test_each_answer_is_what_the_model_gives_it_alone(model: LocalModel) -> None:
    texts = sample_texts(model, PROMPTS, SAMPLING, seed=3)
    seeds = np.random.SeedSequence(3).generate_state(3, np.uint64) >> 1
    alone = [
        "".join(s.text for s in model.tokens(prompt, replace(SAMPLING, seed=int(seed))))
        for prompt, seed in zip(PROMPTS, seeds, strict=True)
    ]
    assert texts == alone
    assert all(texts)


def test_fewer_slots_than_answers_change_nothing_but_the_time(model: LocalModel) -> None:
    prompts = PROMPTS * 3
    done: list[int] = []
    texts = sample_texts(model, prompts, SAMPLING, seed=1, slots=2, progress=done.append)
    assert texts == sample_texts(model, prompts, SAMPLING, seed=1, slots=9)
    assert done == sorted(done)
    assert done[-1] == 9


def test_repeated_prompts_get_answers_of_their_own(model: LocalModel) -> None:
    texts = sample_texts(model, PROMPTS[:1] * 20, SAMPLING, seed=2)
    assert len(set(texts)) > 15


def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_computed(
    model: LocalModel,
) -> None:
    with pytest.raises(ContextLengthExceeded):
        sample_texts(model, ["a " * 2048], SAMPLING, seed=0)


def test_no_prompts_give_no_answers(model: LocalModel) -> None:
    assert sample_texts(model, [], SAMPLING, seed=0) == []


def test_precisions_share_their_random_numbers_so_most_answers_are_equal() -> None:
    weights = Weights(model="demo", honest=("float32", "bfloat16"))
    texts = sample_precisions(Loader(weights), PROMPTS * 8, max_tokens=8, seed=5)
    equal = [a == b for a, b in zip(*texts.values(), strict=True)]
    assert sum(equal) > 0.8 * len(equal)
    assert len(set(texts["float32"])) > 15
