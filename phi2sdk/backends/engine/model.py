"""A Phi model in memory, which generates tokens and scores texts."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from phi2sdk.backends.engine import memory
from phi2sdk.backends.engine.cache import SlotCache
from phi2sdk.backends.engine.decode import (
    CompiledStep,
    CudaGraphs,
    EagerStep,
    GraphStep,
    OneTokenStep,
)
from phi2sdk.backends.engine.files import ModelFiles, find_model, from_files
from phi2sdk.backends.engine.job import Answer, Step
from phi2sdk.backends.engine.phi import Phi
from phi2sdk.backends.engine.scoring import (
    LOGITS_BYTES,
    PromptAndText,
    Score,
    likelihoods,
    rank,
    score_sequences,
)
from phi2sdk.backends.engine.slots import Slots
from phi2sdk.backends.engine.tokenizer import Detokenizer, TextCodec
from phi2sdk.backends.engine.weights import Progress, load_weights
from phi2sdk.errors import ConfigurationError, ContextLengthExceeded, InvalidRequest
from phi2sdk.logprobs import RankedToken
from phi2sdk.sampling import Sampling

__all__ = ["DeviceName", "LocalModel", "QuantizeName"]

DeviceName = Literal["auto", "cuda", "cpu", "mps"]
QuantizeName = Literal["int8", "int4"]

GRAPHS = 10**9
"""Bytes of a GPU that are left to the captured steps and the libraries' workspaces."""


class LocalModel:
    """A Phi model in memory, with its tokenizer.

    Attributes:
        name: The folder or id that it was loaded from.
        context_length: Maximum number of tokens of prompt and answer together.
        vocab_size: Number of rows of the embedding.
        phi: The neural network.
        quantize: Format of the layers' matrices: ``int8``, ``int4``, or ``None`` for the dtype.
        eos_ids: Token ids that end an answer.
    """

    def __init__(
        self,
        files: ModelFiles,
        phi: Phi,
        quantize: QuantizeName | None = None,
        *,
        compile: bool = False,
    ) -> None:
        shape = phi.config.shape
        self.name = files.name
        self.phi = phi
        self.quantize = quantize
        self.context_length = shape.context_length
        self.vocab_size = shape.vocab
        self.eos_ids = files.eos_ids
        self._codec = TextCodec(files.tokenizer, shape.vocab)
        self._compile = compile
        self._spare: list[Slots] = []  # caches of one slot, which `tokens` reuses

    @classmethod
    def load(
        cls,
        model: str | Path = "microsoft/phi-2",
        *,
        dtype: memory.DTypeName = "auto",
        device: DeviceName = "auto",
        revision: str | None = None,
        quantize: QuantizeName | None = None,
        compile: bool = False,
        progress: Progress | None = None,
    ) -> LocalModel:
        """Load a model.

        Args:
            model: A folder, or a hub id. Only safetensors are read, and no code is run.
            dtype: Number format. ``auto`` selects one that fits (see
                :func:`phi2sdk.backends.engine.memory.choose_dtype`).
            device: Device. ``auto`` selects CUDA, else MPS, else the CPU.
            revision: Branch, tag or commit of a hub id.
            quantize: Store the layers' matrices in 8 or 4 bits. The other parameters then have
                the dtype, by default float16 on a GPU and bfloat16 on a CPU.
            compile: Fuse the decode step on a CPU, which makes it faster but takes 10 to 40
                seconds when it first runs. (On a GPU, the step is captured as CUDA graphs.)
            progress: Called with the number of bytes loaded so far and the total.

        Raises:
            ConfigurationError: Files are missing or do not belong to a Phi model, or the device
                does not exist.
            ModelNotFound: The hub does not have the model.
            OutOfMemory: The model does not fit; nothing was loaded.
        """
        where = _device(device)
        files = find_model(model, revision=revision)
        free = _free_bytes(where)
        chosen = _storage(dtype, quantize, where, free, files.shape)
        if where.type == "cuda":
            advice = slow_on_gpu(chosen, quantize, torch.cuda.get_device_capability(where))
            if advice is not None:
                warnings.warn(advice, stacklevel=2)
        need = memory.plan(
            quantize or chosen,
            context=files.shape.context_length,
            shape=files.shape,
            runtime=False,
        )
        memory.refuse_unless_fits(need, free, shape=files.shape)
        with from_files(model):
            phi = load_weights(
                files,
                dtype=getattr(torch, chosen),
                device=where,
                quantize=quantize,
                progress=progress,
            )
            return cls(files, phi, quantize, compile=compile)

    @property
    def dtype(self) -> str:
        """Return the dtype of the computation: ``float32``, ``float16`` or ``bfloat16``."""
        return str(self.phi.dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        """Return the device: ``cpu``, ``cuda:0``, ``mps:0``."""
        return str(self.phi.device)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without special tokens."""
        return self._codec.encode(text)

    def decode(self, ids: list[int]) -> str:
        """Return the text of tokens; control tokens add no text."""
        return self._codec.decode(ids)

    def piece(self, id: int) -> bytes:
        """Return the bytes of one token: possibly a part of a character, none if it is control."""
        return self._codec.piece(id)

    def score(
        self, prompt: str | Sequence[int], text: str | Sequence[int], *, temperature: float = 1.0
    ) -> Score:
        """Return the log-probability of each token of ``text`` after ``prompt``.

        Args:
            prompt: The preceding text, or its tokens.
            text: The text to score. Pass its tokens if they are known, because the tokenizer may
                split a text differently from the model that wrote it.
            temperature: Temperature of the distribution, greater than 0.

        Raises:
            ContextLengthExceeded: Prompt and text together do not fit into the context.
            InvalidRequest: The prompt or the text is empty, a token does not exist, or the
                temperature is not greater than 0.
        """
        return next(self.score_many([(prompt, text)], temperature=temperature))

    def score_many(
        self,
        pairs: Iterable[tuple[str | Sequence[int], str | Sequence[int]]],
        *,
        temperature: float = 1.0,
        logits_bytes: int = LOGITS_BYTES,
    ) -> Iterator[Score]:
        """Yield the :meth:`score` of each pair in order, several pairs per pass.

        Args:
            pairs: Prompts with the texts to score.
            temperature: Temperature of the distribution, greater than 0.
            logits_bytes: Maximum memory for logits and tensors derived from them.
        """
        if not temperature > 0:
            raise InvalidRequest(
                f"a text is scored at a temperature above 0, and temperature={temperature!r}"
            )
        sequences = ((self.ids(prompt), self.ids(text)) for prompt, text in pairs)
        return score_sequences(
            self.phi,
            (self._scorable(*sequence) for sequence in sequences),
            temperature=temperature,
            logits_bytes=logits_bytes,
        )

    def likelihoods(self, pairs: Iterable[PromptAndText]) -> Iterator[tuple[float, bool]]:
        """Yield the log-likelihood of each text after its prompt, both as tokens, in order.

        The second value is whether every token of the text is the most likely one.

        Raises:
            ContextLengthExceeded: Prompt and text together do not fit into the context.
            InvalidRequest: The prompt or the text is empty, or a token does not exist.
        """
        sequences = ((self.ids(prompt), self.ids(text)) for prompt, text in pairs)
        return likelihoods(self.phi, (self._scorable(*sequence) for sequence in sequences))

    def rank(self, ids: Sequence[int], top: int) -> list[RankedToken]:
        """Return each token of a text with the ``top`` most likely tokens at its position.

        Raises:
            ContextLengthExceeded: The text does not fit into the context.
            InvalidRequest: There are no tokens, or a token does not exist.
        """
        known = self.ids(ids)
        self.check_fits(len(known), 0)
        return rank(self.phi, known, top)

    def ids(self, text: str | Sequence[int]) -> list[int]:
        """Return the tokens of a text that is given as a string or as tokens.

        Raises:
            InvalidRequest: A token does not exist.
        """
        ids = self.encode(text) if isinstance(text, str) else list(text)
        if any(not 0 <= id < self.vocab_size for id in ids):
            raise InvalidRequest(f"token ids must be from 0 to {self.vocab_size - 1}")
        return ids

    def _scorable(self, prompt: list[int], text: list[int]) -> tuple[list[int], list[int]]:
        if not text:
            raise InvalidRequest("the text to score is empty. Pass at least one token")
        self.check_fits(len(prompt), len(text) - 1)  # the last token is predicted, and not read
        return prompt, text

    def slots(self, count: int, *, length: int | None = None) -> Slots:
        """Return slots for ``count`` sequences, or for as many as fit into memory, at least one.

        Args:
            count: Number of slots wanted.
            length: Number of tokens per slot, prompt and answer together (default: the context).
        """
        shape, dtype = self.phi.config.shape, self.quantize or self.dtype
        free = _free_bytes(self.phi.device)
        one = memory.plan(dtype, shape=shape, context=length or shape.context_length)
        per_slot = one.kv_bytes + one.working_bytes
        gpu = self.phi.device.type == "cuda"
        spare = one.prefill_bytes + (GRAPHS if gpu else 0)
        count = max(1, min(count, (free - spare) // per_slot))
        step: Callable[[Phi, SlotCache], OneTokenStep]
        step = CompiledStep if self._compile else EagerStep
        if gpu:
            step = partial(GraphStep, capture=CudaGraphs(self.phi.device))
        among = 256 if gpu else 64
        return Slots(self.phi, count, length=length, prefill_among=among, ahead=gpu, step=step)

    def answer(self, max_tokens: int) -> Answer:
        """Return an empty answer, to which the tokens of one sequence are added."""
        return Answer(self.eos_ids, self.detokenizer(), self.dtype, max_tokens)

    def detokenizer(self) -> Detokenizer:
        """Return a detokenizer for the tokens of one answer."""
        return self._codec.detokenizer()

    def check_fits(self, prompt_tokens: int, max_tokens: int) -> None:
        """Raise an error if prompt and answer cannot fit into the context.

        Raises:
            ContextLengthExceeded: They do not fit. The message has the numbers.
            InvalidRequest: The prompt has no tokens.
        """
        if not prompt_tokens:
            raise InvalidRequest("the prompt is empty. Pass a prompt with at least one character")
        if prompt_tokens + max_tokens > self.context_length:
            left = self.context_length - prompt_tokens
            if left <= 0:
                raise ContextLengthExceeded(
                    f"the prompt alone exceeds the context: it has {prompt_tokens:,} tokens of at "
                    f"most {self.context_length:,}. Shorten the prompt"
                )
            raise ContextLengthExceeded(
                f"the prompt has {prompt_tokens} tokens and max_tokens is {max_tokens}, together "
                f"{prompt_tokens + max_tokens}, but the context is {self.context_length} tokens. "
                f"Shorten the prompt, or set max_tokens to at most {left}"
            )

    def tokens(
        self, prompt: str, sampling: Sampling, *, cancelled: threading.Event | None = None
    ) -> Iterator[Step]:
        """Generate an answer, and yield a step for each token. Blocks while it computes.

        Generation ends after the end-of-text token (``special``), after ``max_tokens``, or at most
        one step after ``cancelled`` is set. It does not end at stops. Several threads may call this
        method at the same time.

        Raises:
            ContextLengthExceeded: Prompt and ``max_tokens`` do not fit into the context.
        """
        ids = self.encode(prompt)
        self.check_fits(len(ids), sampling.max_tokens)
        return self._generate(ids, sampling, cancelled or threading.Event())

    def _generate(
        self, prompt: list[int], sampling: Sampling, cancelled: threading.Event
    ) -> Iterator[Step]:
        slots = self._spare.pop() if self._spare else self.slots(1)
        row = slots.join(prompt, sampling)
        answer = self.answer(sampling.max_tokens)
        try:
            while not (answer.ended or cancelled.is_set()):
                for token in slots.step():
                    yield answer.take(token)
        finally:
            slots.leave(row, scrub=answer.overflowed)
            self._spare.append(slots)


def _device(name: DeviceName) -> torch.device:
    mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if name not in ("cuda", "cpu", "mps"):
        raise ConfigurationError(f"there is no device {name!r}. Use auto, cuda, cpu or mps")
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not mps):
        raise ConfigurationError(
            f"the device {name} is not available to torch {torch.__version__} on this machine. "
            'Use device="auto", or install a build of torch that supports it'
        )
    return torch.device(name, 0) if name == "cuda" else torch.device(name)


def _storage(
    dtype: str,
    quantize: str | None,
    device: torch.device,
    free: int,
    shape: memory.Shape,
) -> str:
    """Return the dtype of the parameters that are not quantized."""
    known = memory.HALVES if quantize else memory.PRECISIONS
    if dtype == "auto":
        gpu = device.type != "cpu"
        if quantize:
            return "float16" if gpu else "bfloat16"
        return memory.choose_dtype(free, gpu=gpu, shape=shape)
    if dtype not in known:
        kind = "quantized model" if quantize else "model"
        raise ConfigurationError(
            f"dtype={dtype!r} is not a dtype of a {kind}. Use auto, {' or '.join(known)}"
        )
    return dtype


def slow_on_gpu(dtype: str, quantize: str | None, capability: tuple[int, int]) -> str | None:
    """Return advice on a format that an NVIDIA GPU computes slowly; ``None`` on any other.

    Args:
        dtype: The dtype of the computation.
        quantize: The format of the quantized matrices.
        capability: The compute capability of the GPU.
    """
    if quantize is not None:
        return (
            f"{quantize} saves memory and not time on a GPU, because each step widens all "
            "weights. If the model fits in float16, use dtype float16 without quantize"
        )
    if dtype == "bfloat16" and capability < (8, 0):
        return "this GPU has no fast kernels for bfloat16. Use dtype float16"
    return None


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return memory.available_ram()
