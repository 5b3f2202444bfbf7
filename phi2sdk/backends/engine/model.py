"""A model on this machine: load it, then ask it for tokens."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch

from phi2sdk.backends.engine import memory
from phi2sdk.backends.engine.decode import CompiledStep, EagerStep, GraphStep
from phi2sdk.backends.engine.files import ModelFiles, find_model, from_files
from phi2sdk.backends.engine.job import Answer, Step
from phi2sdk.backends.engine.phi import Phi
from phi2sdk.backends.engine.scoring import LOGITS_BYTES, Score, score_sequences
from phi2sdk.backends.engine.slots import Slots
from phi2sdk.backends.engine.tokenizer import Detokenizer, TextCodec
from phi2sdk.backends.engine.weights import Progress, load_weights
from phi2sdk.errors import ConfigurationError, ContextLengthExceeded, InvalidRequest
from phi2sdk.sampling import Sampling

__all__ = ["DeviceName", "LocalModel", "QuantizeName"]

DeviceName = Literal["auto", "cuda", "cpu", "mps"]
QuantizeName = Literal["int8", "int4"]


class LocalModel:
    """A Phi model in memory, with its tokenizer.

    Attributes:
        name: What it was called when it was loaded.
        context_length: Prompt and answer together have at most so many tokens.
        vocab_size: Rows of the embedding.
        phi: The model itself.
        quantize: How its matrices are kept: ``int8``, ``int4``, or ``None``: like the rest.
        eos_ids: Tokens that end an answer.
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
        self._spare: list[Slots] = []  # caches of one slot, used again by `tokens`

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
            model: A folder, or a hub id. Only safetensors are read, and no code.
            dtype: ``auto`` takes what fits (:func:`phi2sdk.backends.engine.memory.choose_dtype`).
            device: ``auto`` takes CUDA, then MPS, then the CPU.
            revision: Pins a hub id to a branch, tag or commit.
            quantize: Keep the layers' matrices in 8 or 4 bits; the rest is then bfloat16 (on a
                GPU float16), or what ``dtype`` says.
            compile: Fuse the one-token step on a CPU: faster, after 10 to 40 seconds of compiling
                when it first runs. (On a GPU it is captured as CUDA graphs in any case.)
            progress: Called with the bytes loaded so far and in all.

        Raises:
            ConfigurationError: Files are missing or not a Phi model's; there is no such device.
            ModelNotFound: The hub has no such model.
            OutOfMemory: It does not fit; nothing was loaded.
        """
        where = _device(device)
        files = find_model(model, revision=revision)
        free = _free_bytes(where)
        chosen = _storage(dtype, quantize, where, free, files.shape)
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
        """The dtype it runs in: ``float32``, ``float16`` or ``bfloat16``."""
        return str(self.phi.dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        """Where it runs: ``cpu``, ``cuda:0``, ``mps:0``."""
        return str(self.phi.device)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, nothing added."""
        return self._codec.encode(text)

    def decode(self, ids: list[int]) -> str:
        """The text of tokens; control tokens have none."""
        return self._codec.decode(ids)

    def piece(self, id: int) -> bytes:
        """The bytes of one token, which may be a part of a character; a control token has none."""
        return self._codec.piece(id)

    def score(
        self, prompt: str | Sequence[int], text: str | Sequence[int], *, temperature: float = 1.0
    ) -> Score:
        """How likely ``text`` is after ``prompt``, token by token.

        Args:
            prompt: What stands before; text, or its tokens.
            text: What is scored; as tokens where they are known, since a text that a model wrote
                need not be tokenised in the way in which it was written.
            temperature: Of the distribution; above 0.

        Raises:
            ContextLengthExceeded: Together they do not fit.
            InvalidRequest: One is empty, a token does not exist, or the temperature is not above 0.
        """
        return next(self.score_many([(prompt, text)], temperature=temperature))

    def score_many(
        self,
        pairs: Iterable[tuple[str | Sequence[int], str | Sequence[int]]],
        *,
        temperature: float = 1.0,
        logits_bytes: int = LOGITS_BYTES,
    ) -> Iterator[Score]:
        """:meth:`score` for many, in order, several in one pass; lazily.

        Args:
            pairs: Prompt and text of each.
            temperature: Of the distribution; above 0.
            logits_bytes: Logits and what is made of them take at most so much memory.
        """
        if not temperature > 0:
            raise InvalidRequest(f"temperature={temperature!r} must be above 0 to score a text")
        sequences = ((self._ids(prompt), self._ids(text)) for prompt, text in pairs)
        return score_sequences(
            self.phi,
            (self._scorable(*sequence) for sequence in sequences),
            temperature=temperature,
            logits_bytes=logits_bytes,
        )

    def _ids(self, text: str | Sequence[int]) -> list[int]:
        ids = self.encode(text) if isinstance(text, str) else list(text)
        if any(not 0 <= id < self.vocab_size for id in ids):
            raise InvalidRequest(f"tokens must be from 0 to {self.vocab_size - 1}")
        return ids

    def _scorable(self, prompt: list[int], text: list[int]) -> tuple[list[int], list[int]]:
        if not text:
            raise InvalidRequest("the text to score is empty")
        self.check_fits(len(prompt), len(text))
        return prompt, text

    def slots(self, count: int, *, length: int | None = None) -> Slots:
        """Room for ``count`` sequences at once, or as many as memory holds; at least one.

        Args:
            count: How many are wanted.
            length: Tokens of each, prompt and answer together; the context if not given.
        """
        shape, dtype = self.phi.config.shape, self.quantize or self.dtype
        free = _free_bytes(self.phi.device)
        one = memory.plan(dtype, shape=shape, context=length or shape.context_length)
        per_slot = one.kv_bytes + one.working_bytes
        count = max(1, min(count, (free - one.prefill_bytes) // per_slot))
        gpu = self.phi.device.type == "cuda"
        step = GraphStep if gpu else CompiledStep if self._compile else EagerStep
        among = 256 if gpu else 64
        return Slots(self.phi, count, length=length, prefill_among=among, ahead=gpu, step=step)

    def answer(self, max_tokens: int) -> Answer:
        """An answer that takes the tokens of one sequence."""
        return Answer(self.eos_ids, self.detokenizer(), self.dtype, max_tokens)

    def detokenizer(self) -> Detokenizer:
        """A new reader of one answer's tokens."""
        return self._codec.detokenizer()

    def check_fits(self, prompt_tokens: int, max_tokens: int) -> None:
        """Refuse what cannot fit into the context.

        Raises:
            ContextLengthExceeded: With the numbers.
            InvalidRequest: The prompt has no tokens.
        """
        if not prompt_tokens:
            raise InvalidRequest("the prompt is empty: give the model something to read")
        if prompt_tokens + max_tokens > self.context_length:
            raise ContextLengthExceeded(
                f"the prompt has {prompt_tokens} tokens and max_tokens is {max_tokens}: together "
                f"{prompt_tokens + max_tokens}, but the context is {self.context_length}. Shorten "
                f"the prompt, or set max_tokens to {max(0, self.context_length - prompt_tokens)}"
            )

    def tokens(
        self, prompt: str, sampling: Sampling, *, cancelled: threading.Event | None = None
    ) -> Iterator[Step]:
        """Generate, one step a token; blocks while it computes.

        Ends after the end-of-text token (``special``), after ``max_tokens``, or within a step of
        ``cancelled`` being set. Stops are not looked for. Several threads may do this at once.

        Raises:
            ContextLengthExceeded: Prompt and ``max_tokens`` do not fit.
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
        raise ConfigurationError(f"there is no device {name!r}: use auto, cuda, cpu or mps")
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not mps):
        raise ConfigurationError(
            f"the device {name} is not available to torch {torch.__version__} here: "
            'use device="auto", or install a build of torch for it'
        )
    return torch.device(name, 0) if name == "cuda" else torch.device(name)


def _storage(
    dtype: str,
    quantize: str | None,
    device: torch.device,
    free: int,
    shape: memory.Shape,
) -> str:
    """The dtype of all that is not quantised."""
    known = memory.HALVES if quantize else memory.PRECISIONS
    if dtype == "auto":
        gpu = device.type != "cpu"
        if quantize:
            return "float16" if gpu else "bfloat16"
        return memory.choose_dtype(free, gpu=gpu, shape=shape)
    if dtype not in known:
        raise ConfigurationError(f"dtype={dtype!r}: use auto, {' or '.join(known)}")
    return dtype


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return memory.available_ram()
