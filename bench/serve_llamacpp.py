"""Serve a checkpoint with llama.cpp's HTTP server on loopback, in the environment of llama.cpp.

    python serve_llamacpp.py CHECKPOINT PORT [SLOTS THREADS]

The command converts the checkpoint to GGUF in float32, keeps the key-value cache in float32 too,
and serves until its standard input ends or it is terminated. tests/real_servers starts it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import xllamacpp
from local_llamacpp import convert

CONTEXT, SLOTS, THREADS = 2048, 4, 1


def main() -> int:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    slots, threads = map(int, sys.argv[3:5] or (SLOTS, THREADS))
    with tempfile.TemporaryDirectory(prefix="phi2-llamacpp-") as place:
        path = Path(place) / "model.gguf"
        convert(folder, path)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.model_alias = {folder.name}
        if (template := folder / "chat_template.jinja").exists():
            params.chat_template = template.read_text(encoding="utf-8")
        params.hostnames, params.port = ["127.0.0.1"], port
        params.n_parallel, params.n_ctx = slots, slots * CONTEXT
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        server = xllamacpp.Server(params)
        print(f"serving at {server.listening_address}", flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
