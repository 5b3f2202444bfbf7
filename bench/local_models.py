"""Models and requests of bench/local.py, with the same weights in the engine and transformers."""

from __future__ import annotations

import importlib
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.files import find_model
from phi2sdk.backends.engine.memory import PHI2
from phi2sdk.backends.engine.phi import Matrix
from phi2sdk.measure.engine import random_phi

transformers: Any = importlib.import_module("transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CHECKPOINT = Path(__file__).resolve().parents[1] / "phi2sdk" / "demo" / "checkpoint"
Requests = list[tuple[list[int], int]]
"""The prompt tokens and the number of tokens to generate, for each request."""

MID = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "vocab_size": 2048}
FULL = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32}


@contextmanager
def models(
    folder: Path, dtype: str, device: str, *, compile: bool = False
) -> Iterator[tuple[LocalModel, Any]]:
    """Yield a checkpoint loaded by the local engine and by transformers."""
    ours = LocalModel.load(folder, dtype=dtype, device=device, compile=compile)  # type: ignore[arg-type]
    theirs = transformers.PhiForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    yield ours, theirs.to(device).eval()


@contextmanager
def random_model(
    shape: dict[str, int], dtype: str, device: str
) -> Iterator[tuple[LocalModel, Any]]:
    """Yield a model of the given shape with random weights, in the engine and transformers."""
    config = transformers.PhiConfig(**shape, num_attention_heads=8, max_position_embeddings=2048)
    folder = Path(tempfile.mkdtemp(prefix="phi2-bench-"))
    try:
        torch.manual_seed(0)
        before = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            transformers.PhiForCausalLM(config).save_pretrained(folder)
        finally:
            torch.set_default_dtype(before)
        shutil.copy(CHECKPOINT / "tokenizer.json", folder)
        with models(folder, dtype, device) as pair:
            yield pair
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def full_pair(dtype: str, device: str) -> tuple[LocalModel, Any]:
    """Return Phi-2's full shape with random weights; the models share four fifths of them."""
    config = transformers.PhiConfig(
        **FULL,
        vocab_size=51200,
        num_attention_heads=32,
        max_position_embeddings=2048,
        partial_rotary_factor=0.4,
        attn_implementation="sdpa",
    )
    like = LocalModel.load(CHECKPOINT, dtype=dtype, device=device)  # type: ignore[arg-type]
    phi = random_phi(PHI2, like.phi)
    d, inner, blocks, last, head = 2560, 10240, phi.blocks, phi.norm, phi.head
    assert isinstance(head, Matrix)
    state = {"model.embed_tokens.weight": phi.embed}
    state |= {"lm_head.weight": head.weight, "lm_head.bias": head.bias}
    state |= {"model.final_layernorm.weight": last.weight, "model.final_layernorm.bias": last.bias}
    for layer, block in enumerate(blocks):
        sizes = dict.fromkeys(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), d)
        wide, narrow, at = block.wide, block.narrow, f"model.layers.{layer}."
        row = 0
        for name, size in (sizes | {"mlp.fc1": inner}).items():
            state[f"{at}{name}.weight"] = wide.weight[row : row + size]
            state[f"{at}{name}.bias"] = wide.bias[row : row + size]
            row += size
        state[f"{at}self_attn.dense.weight"] = narrow.weight[:, :d].contiguous()
        state[f"{at}self_attn.dense.bias"] = torch.zeros_like(narrow.bias)
        state[f"{at}mlp.fc2.weight"] = narrow.weight[:, d:].contiguous()
        state[f"{at}mlp.fc2.bias"] = narrow.bias
        state[f"{at}input_layernorm.weight"] = block.norm.weight
        state[f"{at}input_layernorm.bias"] = block.norm.bias
    with torch.device("meta"):
        theirs = transformers.PhiForCausalLM(config)
    theirs.load_state_dict(state, assign=True)
    theirs.model.rotary_emb = type(theirs.model.rotary_emb)(config=config).to(device)
    return LocalModel(find_model(CHECKPOINT), phi), theirs.eval()


def mixed(count: int, inputs: tuple[int, int], outputs: tuple[int, int]) -> Requests:
    rng = random.Random(0)
    return [
        ([rng.randrange(1, 2000) for _ in range(rng.randint(*inputs))], rng.randint(*outputs))
        for _ in range(count)
    ]


def prompt(model: LocalModel, length: int) -> list[int]:
    text = "Instruct: Write a paragraph about rivers and the towns beside them.\nOutput:"
    return (model.encode(text) * length)[:length]


def timed(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began
