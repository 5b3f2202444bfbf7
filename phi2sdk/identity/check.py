"""Test the sampled answers of a run against local weights, if there are any."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.identity.weights import HONEST, Weights
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.tokens import local_model

__all__ = ["IdentityCheck"]


class IdentityCheck:
    """The local weights that the sampled answers of a comparison are tested against.

    Args:
        model: The weights: a folder, a hub id, or ``demo``; the first local target's by default.
        honest: Precisions in which the model counts as itself.
        others: Weights of other models with the same tokenizer, as further candidates.

    Raises:
        ConfigurationError: A precision does not exist, a model is not on this machine or cannot be
            run, or one of ``others`` has a different vocabulary from ``model``.
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
        if self._model is not None:
            self._check_vocabularies(self._model)

    def check(self, targets: Mapping[str, Mapping[str, Any]]) -> None:
        """Check the weights before any request is sent.

        Args:
            targets: The targets, as the configuration of the run describes them.

        Raises:
            ConfigurationError: Another model has a different vocabulary from the reference weights.
        """
        model = self._model or local_model(targets)
        if model is not None and self._others:
            _find(model)
            self._check_vocabularies(model)

    def _check_vocabularies(self, model: str) -> None:
        for other in self._others:
            if not _same_vocabulary(model, other):
                raise ConfigurationError(
                    f"--suspect {other} has a different vocabulary from {model}, so it cannot "
                    "score the same tokens. Name weights with the same tokenizer, or leave the "
                    "option out. No request was sent"
                )

    async def examine(self, folder: RunFolder, notice: Callable[[str], None] | None = None) -> None:
        """Write ``identity.json`` if the run has sampled answers and there are local weights.

        If the weights cannot be used, the file states the reason. Nothing is written if the task
        is canceled.

        Args:
            folder: The folder of the run.
            notice: Receives a sentence about each step that takes a while.
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


def _same_vocabulary(model: str, other: str) -> bool:
    """Return whether two models have the same tokens with the same ids."""
    from tokenizers import Tokenizer

    from phi2sdk.backends.engine.files import find_model, from_files

    files = [find_model(name, download=False) for name in (model, other)]
    if files[0].shape.vocab != files[1].shape.vocab:
        return False
    vocabularies = []
    for one in files:
        with from_files(one.tokenizer):
            vocabularies.append(Tokenizer.from_file(str(one.tokenizer)).get_vocab())
    return bool(vocabularies[0] == vocabularies[1])


def _find(model: str) -> None:
    """Check that a model is on this machine and can be run.

    Raises:
        ConfigurationError: The model or a package that runs it is missing.
    """
    for package in ("torch", "tokenizers", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(
                f"the identity tests need {package}, which is not installed: "
                "python -m pip install 'phi2sdk[local]'"
            )
    from phi2sdk.backends.engine.files import find_model

    find_model(model, download=False)
