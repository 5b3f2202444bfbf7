"""Tiny Phi models with random weights, and transformers' own answer to compare with."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from phi2sdk.backends.engine import LocalModel

torch.set_num_threads(1)  # of no use to models this small, and slow on a busy machine
transformers: Any = importlib.import_module("transformers")  # its types are not for mypy --strict

WORDS = (
    "Instruct: Output: Alice: Bob: a small model reads the long text and writes one short sentence "
    "about light, water, stones and numbers 0 1 2 3 4 5 6 7 8 9 naïve café über 日本語 😀 \n\n"
)


def save_tiny(folder: Path, *, seed: int = 0, **changes: object) -> Path:
    """A random Phi with a byte-level tokenizer of 400 tokens, saved as safetensors."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS * 3], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "vocab_size": 400,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 256,
        "partial_rotary_factor": 0.4,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    torch.manual_seed(seed)
    model = transformers.PhiForCausalLM(transformers.PhiConfig(**(settings | changes)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # zero at first, which would hide a bias that is left out
                parameter.normal_(std=0.1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> LocalModel:
    return LocalModel.load(tiny_folder, dtype="float32", device="cpu")


def load_reference(
    folder: Path, *, dtype: torch.dtype = torch.float32, attention: str = "sdpa"
) -> Any:
    """The same model in transformers."""
    return transformers.PhiForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention
    ).eval()


def generate(reference: Any, ids: list[int], max_tokens: int) -> list[int]:
    """``transformers.generate``, greedily; the answer's tokens."""
    out = reference.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=max_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    answer: list[int] = out[0, len(ids) :].tolist()
    return answer


Greedy = Callable[[list[int], int], list[int]]


@pytest.fixture(scope="session")
def reference(tiny_folder: Path) -> Any:
    return load_reference(tiny_folder)


@pytest.fixture(scope="session")
def greedy(reference: Any) -> Greedy:
    return lambda ids, max_tokens: generate(reference, ids, max_tokens)
