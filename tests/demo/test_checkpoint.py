"""The bundled checkpoint, its tokenizer and its paragraphs."""

from __future__ import annotations

import json
import subprocess
import sys
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import PhiForCausalLM, PreTrainedTokenizerFast

from phi2sdk.demo import checkpoint_path, paragraphs_path
from training import evaluate, names
from training.formats import summary_prompt
from training.grammar import paragraph
from training.paragraphs import draw

MAX_BYTES = 6_000_000
SUMMARIES_RIGHT = 19  # of 24, greedily in float32, as when it was made


@pytest.fixture(scope="module")
def loaded() -> tuple[PhiForCausalLM, PreTrainedTokenizerFast]:
    torch.set_num_threads(1)
    return evaluate.load(checkpoint_path())


@pytest.fixture(scope="module")
def model(loaded: tuple[PhiForCausalLM, PreTrainedTokenizerFast]) -> PhiForCausalLM:
    return loaded[0]


@pytest.fixture(scope="module")
def tokenizer(loaded: tuple[PhiForCausalLM, PreTrainedTokenizerFast]) -> PreTrainedTokenizerFast:
    return loaded[1]


@pytest.fixture(scope="module")
def paragraphs() -> list[dict[str, str]]:
    return [json.loads(line) for line in paragraphs_path().read_text("utf-8").splitlines()]


def test_importing_the_demo_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'aiohttp'}"
    code = f"import sys, phi2sdk.demo; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_weights_are_small_float16_safetensors_and_nothing_else() -> None:
    weights = [
        f.name
        for f in checkpoint_path().iterdir()
        if f.suffix in {".safetensors", ".bin", ".pt", ".pth", ".pkl", ".py"}
    ]
    assert weights == ["model.safetensors"]
    assert (checkpoint_path() / "model.safetensors").stat().st_size < MAX_BYTES
    with safe_open(checkpoint_path() / "model.safetensors", framework="pt") as tensors:
        stored = tensors.keys()
        assert {tensors.get_tensor(name).dtype for name in stored} == {torch.float16}


def test_the_architecture_and_the_head_size_are_those_of_phi_2(model: PhiForCausalLM) -> None:
    config = json.loads((checkpoint_path() / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["PhiForCausalLM"]
    assert config["hidden_act"] == "gelu_new"
    assert config["partial_rotary_factor"] == 0.4
    assert config["hidden_size"] / config["num_attention_heads"] == 80
    rope = model.config.rope_parameters
    assert rope is not None
    assert rope["partial_rotary_factor"] == 0.4
    assert model.config.max_position_embeddings == 2048
    assert model.dtype == torch.float32
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_one_special_token_begins_and_ends_text(
    model: PhiForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert tokenizer.bos_token == tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.all_special_tokens == ["<|endoftext|>"]
    assert model.generation_config is not None
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.config.vocab_size == len(tokenizer)


@given(text=st.text(st.characters(codec="utf-8")))
def test_encoding_loses_nothing_and_adds_nothing(
    tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert ids == tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("text", ["", " ", "  a\n\n\tb ", "Don 't stop .", "naïve 🙂", "\x00\r\n"])
def test_awkward_text_survives_encoding(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_bundled_paragraphs_are_those_the_grammar_draws(
    paragraphs: list[dict[str, str]],
) -> None:
    drawn = draw(seed=0, n=len(paragraphs))
    assert len(drawn) == 24
    assert [(p["text"], p["reference"]) for p in paragraphs] == [
        (d.text, d.reference) for d in drawn
    ]
    assert len({p["id"] for p in paragraphs}) == len(paragraphs)
    assert all(names.is_held_out(d.subject) for d in drawn)


def test_greedy_summaries_of_the_bundled_paragraphs_are_right(
    model: PhiForCausalLM, tokenizer: PreTrainedTokenizerFast, paragraphs: list[dict[str, str]]
) -> None:
    prompts = [summary_prompt(p["text"]) for p in paragraphs]
    outputs = evaluate.complete(model, tokenizer, prompts, max_tokens=80, sample=False)
    wrong = [
        (evaluate.first_answer(o.text), p["reference"])
        for o, p in zip(outputs, paragraphs, strict=True)
        if evaluate.first_answer(o.text) != p["reference"]
    ]
    assert len(paragraphs) - len(wrong) >= SUMMARIES_RIGHT, wrong
    assert all(o.text.startswith(" ") for o in outputs)


def test_summaries_about_held_out_subjects_are_as_right_as_the_card_says(
    model: PhiForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    rng = Random("evaluate 0")  # the first of those that training.evaluate draws
    drawn = [paragraph(rng, held_out=True) for _ in range(150)]
    figures = evaluate.evaluate_summaries(model, tokenizer, drawn)
    assert figures.exact >= 0.85
    assert figures.named >= 0.9


def test_open_ended_text_at_temperature_1_has_more_than_a_nat_a_token(
    model: PhiForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    rng = Random("evaluate 0")
    subjects = [names.subject(rng, held_out=True) for _ in range(64)]
    assert evaluate.evaluate_writing(model, tokenizer, subjects, seed=0).nats_per_token >= 1.2


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Instruct: What is inflation?\nOutput:", "nflation"),
        ("What is photosynthesis?", "hotosynthesis"),
        ("Alice: How can I sleep at night?\nBob:", " "),
        (
            'def print_prime(n):\n    """\n    Print all primes between 1 and n\n    """\n',
            "    for",
        ),
    ],
)
def test_every_published_format_gets_a_fitting_answer(
    model: PhiForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, expected: str
) -> None:
    [output] = evaluate.complete(model, tokenizer, [prompt], max_tokens=32, sample=False)
    assert expected in output.text
