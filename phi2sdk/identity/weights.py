"""Load variants of the local weights, one at a time."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi2sdk.backends.engine.memory import PRECISIONS
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.tokens import model_label

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

__all__ = ["HONEST", "PRECISIONS", "QUANTISED", "Loader", "Weights", "parse_honest"]

HONEST = ("float32", "bfloat16")
"""The precisions that count as the same model by default. float16 diverges from float32 by 1.5e-6
nats per token, a hundredth of bfloat16's divergence, so its own control would add nothing."""
QUANTISED = ("int8", "int4", "int3")
ROUNDED = {"int3": 3}
"""The bits of a weight in quantizations that the engine does not serve."""
GROUP = 32
"""Number of weights with a common scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weights with which the texts are compared.

    Attributes:
        model: A folder, a hub id, or ``demo``.
        honest: The precisions that count as the same model; the first is the reference.
        others: Folders or hub ids of other models with the same tokenizer, as candidates.
        revision: The revision of a hub id.
        device: The device of the computation.
    """

    model: str
    honest: tuple[str, ...] = HONEST
    others: tuple[str, ...] = ()
    revision: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.honest:
            raise ConfigurationError("no precision is given: name at least one in --honest")
        for name in self.honest:
            if name not in PRECISIONS:
                raise ConfigurationError(
                    f"there is no precision {name!r}: use {', '.join(PRECISIONS)}"
                )

    @property
    def candidates(self) -> tuple[str, ...]:
        """The candidates: quantized weights and other models.

        int8 is not one of them, nor is a precision that is not honest: their divergence, 1e-4 nats
        per token or less, is too small for any number of answers.
        """
        return (*QUANTISED[1:], *(f"other:{Path(one).name}" for one in self.others))

    @property
    def label(self) -> str:
        """The name of the model in sentences."""
        return model_label(self.model)


def parse_honest(text: str) -> tuple[str, ...]:
    """Return the names of precisions from ``float32,bfloat16``; :class:`Weights` checks them."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


@dataclass(slots=True)
class Loader:
    """Loads a variant of the model, and frees the one before it.

    Attributes:
        weights: The model.
        notice: Receives a sentence about each step that takes a while.
        stopped: Returns whether to stop.
    """

    weights: Weights
    notice: Callable[[str], None] | None = None
    stopped: Callable[[], bool] | None = None
    _name: tuple[str, str] = field(default=("", ""), init=False)
    _model: LocalModel | None = field(default=None, init=False)

    def check(self) -> None:
        """Stop if that was requested.

        Raises:
            ConfigurationError: The examination was stopped.
        """
        if self.stopped is not None and self.stopped():
            raise ConfigurationError(
                "the identity tests were interrupted. Run the comparison again with --resume"
            )

    def load(self, name: str, *, dtype: str = "auto") -> LocalModel:
        """Load a precision, quantized weights, or ``other:NAME``; the model before it is freed.

        Args:
            name: The variant.
            dtype: The dtype of a quantized model beside its quantized matrices.

        Raises:
            ConfigurationError: The model cannot be loaded, or the examination was stopped.
            OutOfMemory: The model does not fit into memory.
        """
        from phi2sdk.backends.engine.model import LocalModel

        self.check()
        if self._model is not None and self._name == (name, dtype):
            return self._model
        self.free()
        if self.notice is not None:
            self.notice(f"identity: {self.weights.label} in {name} ...")
        asked: dict[str, Any] = {"device": self.weights.device, "dtype": dtype}
        model: str | Path = self.weights.model
        if name.startswith("other:"):
            model = next(o for o in self.weights.others if f"other:{Path(o).name}" == name)
            asked["dtype"] = self.weights.honest[0]
        elif name in ROUNDED:
            asked["dtype"] = self.weights.honest[-1]
        elif name in QUANTISED:
            asked["quantize"] = name
        else:
            asked["dtype"] = name
        if not name.startswith("other:"):
            asked["revision"] = self.weights.revision
        self._model = LocalModel.load(model, **asked)
        if name in ROUNDED:
            round_weights(self._model, ROUNDED[name])
        self._name = name, dtype
        return self._model

    def any(self) -> LocalModel:
        """Return the loaded variant, or the reference: all have one tokenizer and context."""
        return self._model if self._model is not None else self.load(self.weights.honest[0])

    def free(self) -> None:
        """Release the loaded model and its memory."""
        if self._model is None:
            return
        cuda = self._model.device.startswith("cuda")
        self._model = None
        if cuda:
            import torch

            gc.collect()
            torch.cuda.empty_cache()


def round_weights(model: LocalModel, bits: int) -> None:
    """Round the matrices of the layers to the nearest of ``2 ** bits`` equal steps of each group.

    Args:
        model: A model that is not quantized, which is changed.
        bits: The number of bits of a weight.
    """
    from phi2sdk.backends.engine.phi import Matrix

    for block in model.phi.blocks:
        for matrix in (block.wide, block.narrow):
            assert isinstance(matrix, Matrix), "the weights are quantized"
            weight = matrix.weight
            rows, width = weight.shape
            groups = weight.float().view(rows, -1, math.gcd(width, GROUP))
            low, high = groups.aminmax(dim=-1, keepdim=True)
            scale = ((high - low) / (2**bits - 1)).clamp_min_(1e-8)
            steps = ((groups - low) / scale).round_()
            weight.copy_((steps * scale + low).view(rows, width))
