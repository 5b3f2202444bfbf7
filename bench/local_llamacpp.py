"""Worker of bench/local.py that measures llama.cpp on the same weights, in another environment.

    python local_llamacpp.py CHECKPOINT THREADS

The command converts the checkpoint to GGUF (float32) and loads it. It then answers each line
``TOKENS_OUT ID ID ...`` with the tokens per second of that request, including the prompt.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import xllamacpp
from safetensors.numpy import load_file

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.dense": "attn_output",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.final_layernorm.weight": "output_norm.weight",
    "model.final_layernorm.bias": "output_norm.bias",
    "lm_head.weight": "output.weight",
    "lm_head.bias": "output.bias",
}


def convert(folder: Path, path: Path) -> None:
    """Convert a Phi checkpoint to GGUF in float32."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    writer = gguf.GGUFWriter(path, "phi2")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_rope_dimension_count(int(config["partial_rotary_factor"] * hidden) // heads)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    vocabulary(writer, tokenizer, config)
    for name, weight in weights(folder).items():
        writer.add_tensor(name, weight.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vocabulary(writer: gguf.GGUFWriter, tokenizer: dict[str, Any], config: dict[str, Any]) -> None:
    """Write the byte-level vocabulary. Requests consist of tokens, so they do not use it."""
    known = {id: token for token, id in tokenizer["model"]["vocab"].items()}
    special = {added["id"]: added["content"] for added in tokenizer.get("added_tokens", [])}
    tokens, types = [], []
    for id in range(config["vocab_size"]):
        tokens.append(special.get(id) or known.get(id) or f"[unused{id}]")
        kind = gguf.TokenType.CONTROL if id in special else gguf.TokenType.NORMAL
        types.append(kind if id in special or id in known else gguf.TokenType.UNUSED)
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def weights(folder: Path) -> dict[str, Any]:
    stored: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        stored |= load_file(path)
    stored.setdefault("lm_head.weight", stored["model.embed_tokens.weight"])
    made = {}
    for name, weight in stored.items():
        if name in OUTSIDE:
            made[OUTSIDE[name]] = weight
            continue
        _, _, layer, *middle, kind = name.split(".")
        made[f"blk.{layer}.{NAMES['.'.join(middle)]}.{kind}"] = weight
    return made


def main() -> int:
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="phi2-bench-") as place:
        path = Path(place) / "model.gguf"
        convert(folder, path)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = 2048
        params.n_parallel = 1
        params.verbosity = -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        server = xllamacpp.Server(params)
        print("ready", flush=True)
        for line in sys.stdin:
            count, *ids = map(int, line.split())
            asked = {"prompt": ids, "n_predict": count, "ignore_eos": True, "temperature": 0}
            began = time.perf_counter()
            reply = server.handle_completions(asked | {"cache_prompt": False})
            seconds = time.perf_counter() - began
            written = reply["usage"]["completion_tokens"]
            print(count / seconds if written == count else f"wrote {written}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
