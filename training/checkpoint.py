"""Create a model with the architecture of the bundled checkpoint, and save it to a folder."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import GenerationConfig, PhiConfig, PhiForCausalLM, PreTrainedTokenizerFast

PARTIAL_ROTARY_FACTOR = 0.4
ROPE_THETA = 10_000.0


def new_model(vocab_size: int) -> PhiForCausalLM:
    """Return a randomly initialized model with Phi-2's layout and about 1.7 M parameters.

    Its GELU is a fused implementation of the same function as Phi-2's `gelu_new`.
    """
    config = PhiConfig(
        vocab_size=vocab_size,
        hidden_size=160,
        intermediate_size=640,
        num_hidden_layers=4,
        num_attention_heads=2,
        max_position_embeddings=2048,
        hidden_act="gelu_pytorch_tanh",
        rope_parameters={
            "rope_type": "default",
            "rope_theta": ROPE_THETA,
            "partial_rotary_factor": PARTIAL_ROTARY_FACTOR,
        },
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    return PhiForCausalLM(config)


def save_checkpoint(
    model: PhiForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Save ``model`` as float16 safetensors, and ``tokenizer``, to ``folder``.

    ``config.json`` has the rotary parameters twice, because versions of transformers before 5 read
    them from another place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.config.hidden_act = "gelu_new"
    generation = GenerationConfig(bos_token_id=0, eos_token_id=0)  # type: ignore[no-untyped-call]
    model.generation_config = generation
    model.half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(folder)
    _update(
        folder / "config.json", partial_rotary_factor=PARTIAL_ROTARY_FACTOR, rope_theta=ROPE_THETA
    )
    _update(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    (folder / "model.safetensors").chmod(0o644)


def _update(path: Path, **entries: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | entries
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
