"""Examine the sampled answers of a run with local weights, if there are any."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.identity.weights import HONEST, Weights
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.tokens import local_model

__all__ = ["IdentityCheck"]


class IdentityCheck:
    """How the sampled answers of a comparison are examined.

    Args:
        model: The weights: a folder, a hub id, or ``demo``; the first local target's by default.
        honest: Precisions in which the model counts as itself.
        others: Weights of other models with the same tokenizer, as further candidates.

    Raises:
        ConfigurationError: There is no such precision; or a model was named that is not here, or
            cannot be run.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        honest: Sequence[str] = HONEST,
        others: Sequence[str | Path] = (),
    ) -> None:
        self._model = None if model is None else str(model)
        self._honest = tuple(honest)
        self._others = tuple(str(one) for one in others)
        Weights(model="", honest=self._honest)
        for named in (*([self._model] if self._model else []), *self._others):
            _find(named)

    async def examine(self, folder: RunFolder, notice: Callable[[str], None] | None = None) -> None:
        """Write ``identity.json`` where the run has sampled answers and there are weights.

        Where the weights cannot be used the file says why. Cancelled, nothing is written.

        Args:
            folder: Of the run.
            notice: Is told what takes a while.
        """
        from phi2sdk.identity.examine import examine, unavailable

        run = folder.read()
        if not run.identity_prompts:
            return
        model = self._model or local_model(run.configuration["targets"])
        if model is None:
            return
        weights = Weights(model=model, honest=self._honest, others=self._others)
        stop = threading.Event()
        try:
            _find(model)
            document = await asyncio.to_thread(
                examine, run, weights, notice=notice, stopped=stop.is_set
            )
        except asyncio.CancelledError:
            stop.set()
            raise
        except Phi2Error as error:
            document = unavailable(run, str(error))
        folder.write_identity(document)


def _find(model: str) -> None:
    """See whether a model is here and can be run.

    Raises:
        ConfigurationError: It is not, or cannot.
    """
    for package in ("torch", "tokenizers", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(
                f"the identity tests need {package}, which is not installed: "
                "python -m pip install 'phi2sdk[local]'"
            )
    from phi2sdk.backends.engine.files import find_model

    find_model(model, download=False)
