"""The training loop."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from transformers import AutoTokenizer, PhiConfig, PhiForCausalLM, PreTrainedTokenizerFast

from phi2sdk.demo import checkpoint_path
from training.formats import Example
from training.train import IGNORED, Plan, Progress, encode, train


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    loaded = AutoTokenizer.from_pretrained(checkpoint_path(), local_files_only=True)
    return cast(PreTrainedTokenizerFast, loaded)


def _tiny(vocab_size: int) -> PhiForCausalLM:
    torch.manual_seed(0)
    return PhiForCausalLM(
        PhiConfig(
            vocab_size=vocab_size,
            hidden_size=40,
            intermediate_size=40,
            num_hidden_layers=1,
            num_attention_heads=1,
            tie_word_embeddings=True,
        )
    )


def test_only_the_answer_and_its_end_are_learned(tokenizer: PreTrainedTokenizerFast) -> None:
    examples = [
        Example("What is rain?", " Rain is water."),
        Example("A much longer prompt, of two clauses:", " x"),
    ]
    inputs, labels = encode(examples, tokenizer)
    for row, example in enumerate(examples):
        learnt = labels[row][labels[row] != IGNORED]
        assert tokenizer.decode(learnt) == f"{example.answer}<|endoftext|>"
        read = inputs[row, : len(tokenizer(example.prompt).input_ids)]
        assert tokenizer.decode(read) == example.prompt


def test_two_runs_of_one_seed_give_the_same_weights(tokenizer: PreTrainedTokenizerFast) -> None:
    plan = Plan(seed=3, steps=3, batch=4, micro_batch=2)

    def run() -> tuple[list[Progress], dict[str, torch.Tensor]]:
        model, reports = _tiny(len(tokenizer)), list[Progress]()
        train(model, tokenizer, plan, reports.append)
        return reports, model.state_dict()

    (reports, weights), (reports_again, weights_again) = run(), run()
    assert reports == reports_again
    assert [r.step for r in reports] == [1, 2, 3]
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)


def test_the_learning_rate_warms_up_stays_and_decays_with_the_steps() -> None:
    plan = Plan(steps=1000)
    assert plan.rate(0) == pytest.approx(1 / 20)
    assert plan.rate(100) == plan.rate(299) == 1.0
    assert plan.rate(999) == pytest.approx(0.02, abs=0.001)


def test_copying_comes_first() -> None:
    plan = Plan(steps=1000)
    assert [plan.copy_share(step) for step in (0, 69, 71, 119, 121)] == [1.0, 1.0, 0.5, 0.5, 0.12]
