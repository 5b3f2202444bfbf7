"""A launched step must not wait for the device, or a GPU idles while Python prepares the next one.

The model is on the device ``meta``, whose tensors have no values: reading one is an error. What a
GPU would do silently, a copy from memory that is not pinned, is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from phi2sdk.backends.engine.decode import EagerStep, GraphStep
from phi2sdk.backends.engine.files import find_model
from phi2sdk.backends.engine.slots import Slots
from phi2sdk.backends.engine.weights import load_weights
from phi2sdk.demo import checkpoint_path
from phi2sdk.sampling import Sampling

META = torch.device("meta")
SAMPLINGS = {
    "greedy": Sampling(),
    "sampled": Sampling(temperature=0.8, seed=1),
    "truncated": Sampling(temperature=0.8, seed=1, top_k=20, top_p=0.9, min_p=0.05),
    "penalized": Sampling(temperature=0.8, seed=1, repetition_penalty=1.1),
}


class NeverWaits(TorchFunctionMode):
    """Refuses what waits for a GPU: a copy of numbers to it, and an index that is a list."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        place = torch.device(given.get("device") or "cpu")
        assert func is not torch.tensor or place.type == "cpu", "a copy that waits"
        if func in (Tensor.__getitem__, Tensor.__setitem__) and args[0].device == META:
            assert not _lists(args[1]), "an index that is copied to the device"
        return func(*args, **given)


def _lists(index: Any) -> bool:
    parts: Iterable[Any] = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, list) for part in parts)


@pytest.mark.parametrize("name", SAMPLINGS)
@pytest.mark.parametrize("step", [EagerStep, partial(GraphStep, capture=None)])
def test_no_step_waits_for_the_device(name: str, step: Any) -> None:
    files = find_model(checkpoint_path())
    phi = load_weights(files, dtype=torch.float16, device=META)
    slots = Slots(phi, 4, step=step)
    with NeverWaits():
        for sampling in (SAMPLINGS[name], Sampling(), SAMPLINGS[name]):
            slots.join([1, 2, 3], sampling)
            slots.launch()  # reads a prompt while others write
            assert slots.launch().tokens.tensor.device == META
