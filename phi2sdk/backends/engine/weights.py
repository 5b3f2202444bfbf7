"""Weights from safetensors straight to the device, matrix by matrix, never twice in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from phi2sdk.backends.engine.files import ModelFiles
from phi2sdk.backends.engine.phi import Block, Matrix, Norm, Phi, PhiConfig
from phi2sdk.backends.engine.quantize import quantise
from phi2sdk.errors import ConfigurationError

__all__ = ["Progress", "load_weights"]

Progress = Callable[[int, int], None]
"""Called with the bytes loaded so far and the bytes in all."""


def load_weights(
    files: ModelFiles,
    *,
    dtype: torch.dtype,
    device: torch.device,
    quantize: str | None = None,
    progress: Progress | None = None,
) -> Phi:
    """Read a model; each layer is quantised as soon as it is read.

    Raises:
        ConfigurationError: A tensor is missing or has another shape than ``config.json`` says.
    """
    config = PhiConfig.read(files.config, files.shape)
    with ExitStack() as stack:
        reader = _Reader(files.weights, stack, config, dtype, device, quantize, progress)
        return reader.model()


class _Reader:
    def __init__(
        self,
        paths: Sequence[Path],
        stack: ExitStack,
        config: PhiConfig,
        dtype: torch.dtype,
        device: torch.device,
        quantize: str | None,
        progress: Progress | None,
    ) -> None:
        try:
            opened = [stack.enter_context(safe_open(path, framework="pt")) for path in paths]
        except (SafetensorError, OSError) as error:
            raise ConfigurationError(
                f"{paths[0].parent} has a damaged safetensors file: {error}"
            ) from error
        self._home = {name: file for file in opened for name in file.keys()}  # noqa: SIM118
        last = re.compile(r"model\.layers\.(\d{1,9})\.")
        layers = {int(found[1]) for name in self._home if (found := last.match(name))}
        if layers and max(layers) >= config.shape.layers:
            raise ConfigurationError(
                f"the weights have {max(layers) + 1} layers, config.json says "
                f"{config.shape.layers}: download the model again"
            )
        self._config = config
        self._dtype = dtype
        self._device = device
        self._quantize = quantize
        self._progress = progress
        self._total = sum(path.stat().st_size for path in paths)
        self._loaded = 0

    def model(self) -> Phi:
        shape = self._config.shape
        embed = self._new(shape.vocab, shape.hidden)
        self._fill(embed, "model.embed_tokens.weight")
        blocks = [self._block(f"model.layers.{layer}") for layer in range(shape.layers)]
        norm = self._norm("model.final_layernorm")
        head = Matrix(embed, self._vector("lm_head.bias", shape.vocab))
        if not shape.tied_embeddings:
            head = Matrix(self._new(shape.vocab, shape.hidden), head.bias)
            self._fill(head.weight, "lm_head.weight")
        return Phi(self._config, embed, blocks, norm, head)

    def _block(self, name: str) -> Block:
        """Six matrices as two: see :mod:`phi2sdk.backends.engine.phi`."""
        shape = self._config.shape
        d, kv, inner = shape.hidden, shape.kv_width, shape.intermediate
        wide = Matrix(self._new(d + 2 * kv + inner, d), self._new(d + 2 * kv + inner))
        row = 0
        for part, rows in (
            ("self_attn.q_proj", d),
            ("self_attn.k_proj", kv),
            ("self_attn.v_proj", kv),
            ("mlp.fc1", inner),
        ):
            self._fill(wide.weight[row : row + rows], f"{name}.{part}.weight")
            self._fill(wide.bias[row : row + rows], f"{name}.{part}.bias")
            row += rows
        narrow = Matrix(self._new(d, d + inner), self._vector(f"{name}.self_attn.dense.bias", d))
        self._fill(narrow.weight[:, :d], f"{name}.self_attn.dense.weight")
        self._fill(narrow.weight[:, d:], f"{name}.mlp.fc2.weight")
        narrow.bias.add_(self._vector(f"{name}.mlp.fc2.bias", d))
        norm = self._norm(f"{name}.input_layernorm")
        if self._quantize is None:
            return Block(norm, wide, narrow)
        return Block(norm, quantise(wide, self._quantize), quantise(narrow, self._quantize))

    def _norm(self, name: str) -> Norm:
        d = self._config.shape.hidden
        weight, bias = self._vector(f"{name}.weight", d), self._vector(f"{name}.bias", d)
        return Norm(weight, bias, self._config.norm_eps)

    def _vector(self, name: str, size: int) -> Tensor:
        vector = self._new(size)
        self._fill(vector, name)
        return vector

    def _new(self, *size: int) -> Tensor:
        return torch.empty(size, dtype=self._dtype, device=self._device)

    def _fill(self, target: Tensor, name: str) -> None:
        if name not in self._home:
            raise ConfigurationError(f"the weights have no {name}: is this a Phi model?")
        stored = self._home[name].get_tensor(name)
        if not stored.is_floating_point():
            raise ConfigurationError(f"{name} is stored as {stored.dtype}: floats are needed")
        if stored.shape != target.shape:
            raise ConfigurationError(
                f"{name} has the shape {list(stored.shape)}, config.json says {list(target.shape)}"
            )
        target.copy_(stored)
        self._loaded += stored.nbytes
        if self._progress is not None:
            self._progress(min(self._loaded, self._total), self._total)
