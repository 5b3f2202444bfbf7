"""Backend that runs Phi-2 on the GPU or CPU of this machine.

One thread owns the model (:mod:`phi2sdk.backends.engine`). A request goes to it through a queue;
its tokens come back to the caller's event loop one by one, whichever loop that is.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from phi2sdk.backends import missing_dependency
from phi2sdk.backends.base import Backend, Capabilities, OnUnsupported
from phi2sdk.backends.engine.files import find_model
from phi2sdk.backends.engine.job import Admitted, Failed, Generated, Job, News
from phi2sdk.backends.engine.memory import DTypeName
from phi2sdk.backends.engine.worker import Worker
from phi2sdk.completion import Chunk, Count, Done, Event, Opened, Request, Sent, Usage
from phi2sdk.errors import ConfigurationError, Phi2Error, Timeout
from phi2sdk.logprobs import RankedToken, Score
from phi2sdk.sampling import Dialect, Rule
from phi2sdk.stops import StopCutter, stops_of

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

DeviceName = Literal["auto", "cuda", "cpu", "mps"]
QuantizeName = Literal["int8", "int4"]

DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "local",
        {
            "max_tokens": Rule("max_tokens"),
            "temperature": Rule("temperature", neutral=1.0),
            "top_p": Rule("top_p", neutral=1.0),
            "top_k": Rule("top_k", neutral=None),
            "min_p": Rule("min_p", neutral=0.0),
            "repetition_penalty": Rule("repetition_penalty", neutral=1.0),
            "seed": Rule("seed", neutral=None),
            "stop": Rule("stop", convert=list),
        },
    ),
)
"""Everything is the engine's own."""

_NEEDED = ("torch", "safetensors", "tokenizers", "huggingface_hub")


class LocalBackend(Backend):
    """Runs a model in this process.

    Args:
        model: A folder, a hub id, or ``demo``, the checkpoint that comes with this package.
        dtype: ``float32``, ``float16``, ``bfloat16``, or ``auto``, which chooses by memory.
        device: ``cuda``, ``mps``, ``cpu``, or ``auto``, which chooses the first one available.
        revision: Pins a hub id to a branch, tag or commit.
        quantize: ``int8`` or ``int4``: number of bits of the matrices of the layers.
        compile: Fuse the one-token step on a CPU; loading then takes 10 to 40 seconds longer.
        slots: Largest number of requests that are answered at the same time, if memory permits.

    The model is loaded by the first request, before its clock starts, or by :meth:`load`.

    Raises:
        ConfigurationError: A setting is wrong, or a package is missing.
    """

    provider: ClassVar[str] = "local"
    environment: ClassVar[Mapping[str, str]] = {"model": "PHI2_MODEL"}
    extra: ClassVar[str | None] = "local"

    def __init__(
        self,
        *,
        model: str | Path = "microsoft/phi-2",
        dtype: DTypeName = "auto",
        device: DeviceName = "auto",
        revision: str | None = None,
        quantize: QuantizeName | None = None,
        compile: bool = False,
        slots: int = 16,
        target: str | None = None,
        on_unsupported: OnUnsupported = "raise",
    ) -> None:
        super().__init__(target=target, on_unsupported=on_unsupported)
        for package in _NEEDED:
            if importlib.util.find_spec(package) is None:
                raise missing_dependency("local", ImportError(name=package), self.extra)
        _one_of("dtype", dtype, get_args(DTypeName))
        _one_of("device", device, get_args(DeviceName))
        if quantize is not None:
            _one_of("quantize", quantize, get_args(QuantizeName))
        if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:
            raise ConfigurationError(f"slots={slots!r} must be at least 1")
        self._slots = slots
        self._model = model
        self._dtype: DTypeName = dtype
        self._device: DeviceName = device
        self._revision = revision
        self._compile = compile
        self._quantize: QuantizeName | None = quantize
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._closed = False

    @classmethod
    def calls(cls, settings: Mapping[str, Any]) -> Any:
        return "https://huggingface.co"  # from which a model is downloaded by its name

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            streams=True,
            counts_tokens=True,
            token_ids=True,
            logprobs=True,
            scores=True,
            context_length=self._context_length(),
        )

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[0]

    @property
    def model_name(self) -> str:
        return str(self._model)

    async def load(self, progress: Callable[[int, int], None] | None = None) -> LocalModel:
        """Load the model, unless it is loaded. Concurrent callers wait for the same load.

        Args:
            progress: Called on another thread with the bytes loaded so far and the total.

        Raises:
            ConfigurationError: Files or packages are missing, or the process was forked after
                the model was loaded onto a GPU.
            ModelNotFound: The hub has no such model.
            OutOfMemory: It does not fit this device.
        """
        return await asyncio.wrap_future(self._engine(progress).model)

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        _, receipt = self.prepare(request)
        begun = perf_counter_ns()
        model = await self._load_within(request.timeout)
        prompt = model.ids(request.prompt.token_ids or request.prompt.text)
        model.check_fits(len(prompt), request.sampling.max_tokens)
        mailbox = _Mailbox(streamed=request.stream)
        stops = StopCutter(
            stops_of(request),
            top_level=request.prompt.format == "code",
            line_start=request.prompt.text.endswith("\n"),
        )
        job = Job(prompt, request.sampling, stops, mailbox.put_from_thread, streamed=request.stream)
        yield Sent(perf_counter_ns(), receipt, request.stream)
        if request.timeout is not None:
            left = request.timeout - (perf_counter_ns() - begun) / 1e9
            mailbox.time_out_after(left, request.timeout)
        try:
            self._engine().submit(job)
            events = _events(mailbox, model.name, len(prompt), request.stream)
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            job.cancelled.set()
            mailbox.close()

    async def score(
        self, prompt: str | Sequence[int], text: str | Sequence[int], *, temperature: float = 1.0
    ) -> Score:
        """Return the log-probability of each token of ``text`` after ``prompt``.

        Prompt and text as strings or as tokens. Running streams wait meanwhile.

        Raises:
            ContextLengthExceeded: Together they do not fit.
            InvalidRequest: One is empty, or the temperature is not above 0.
        """
        scores = await self.score_many([(prompt, text)], temperature=temperature)
        return scores[0]

    async def score_many(
        self,
        pairs: Sequence[tuple[str | Sequence[int], str | Sequence[int]]],
        *,
        temperature: float = 1.0,
    ) -> list[Score]:
        """:meth:`score` for many at once, in order."""
        await self.load()
        future = self._engine().call(
            lambda model: list(model.score_many(pairs, temperature=temperature))
        )
        return await asyncio.wrap_future(future)

    async def likelihoods(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each text after its prompt, both as tokens.

        The second value is whether every token of the text is the most likely one. Running streams
        wait meanwhile.

        Raises:
            ContextLengthExceeded: Prompt and text together do not fit.
            InvalidRequest: One is empty, or a token does not exist.
        """
        await self.load()
        future = self._engine().call(lambda model: list(model.likelihoods(pairs)))
        return await asyncio.wrap_future(future)

    async def rank(self, ids: Sequence[int], top: int) -> list[RankedToken]:
        """Return each token of a text with the ``top`` most likely tokens at its position.

        Running streams wait meanwhile.

        Raises:
            ContextLengthExceeded: The text does not fit into the context.
            InvalidRequest: There are no tokens, or a token does not exist.
        """
        await self.load()
        return await asyncio.wrap_future(self._engine().call(lambda model: model.rank(ids, top)))

    async def check(self) -> str:
        worker = self._worker
        if worker is not None and worker.model.done() and worker.model.exception() is None:
            model = worker.model.result()
            return f"{model.name} in {model.dtype} on {model.device}"
        files = await asyncio.to_thread(
            find_model, self._model, revision=self._revision, download=False
        )
        return f"{files.name} is here; it is loaded with the first request"

    async def close(self) -> None:
        with self._lock:
            worker, self._closed = self._worker, True
        if worker is not None and worker.pid == os.getpid():
            await asyncio.to_thread(worker.close)  # if it is canceled here, it can be closed again
        with self._lock:
            self._worker = None

    async def _load_within(self, timeout: float | None) -> LocalModel:
        try:
            async with asyncio.timeout(timeout):
                return await self.load()
        except TimeoutError:
            raise Timeout(
                f"the model was not loaded within {timeout} s. Loading continues: send the request "
                "again, or load the model first with `await backend.load()`"
            ) from None

    def _engine(self, progress: Callable[[int, int], None] | None = None) -> Worker:
        """Return the worker; start it if there is none, or if loading failed before."""
        with self._lock:
            if self._closed:
                raise ConfigurationError("this backend is closed. Build a new one")
            worker = self._worker
            if worker is not None and worker.pid != os.getpid():
                _refuse_forked_gpu(worker)
                worker = None  # a fork does not copy its thread
            if worker is not None and worker.model.done() and worker.model.exception():
                worker.close()
                worker = None
            self._worker = worker or self._start(progress)
            return self._worker

    def _start(self, progress: Callable[[int, int], None] | None) -> Worker:
        def load() -> LocalModel:
            from phi2sdk.backends.engine.model import LocalModel

            return LocalModel.load(
                self._model,
                dtype=self._dtype,
                device=self._device,
                revision=self._revision,
                quantize=self._quantize,
                compile=self._compile,
                progress=progress,
            )

        return Worker(load, self._slots)

    def _context_length(self) -> int | None:
        worker = self._worker
        if worker is not None and worker.model.done() and worker.model.exception() is None:
            return worker.model.result().context_length
        return 2048 if self._model == "microsoft/phi-2" else None


class _Mailbox:
    """Passes events from the thread of the worker to one task of an event loop.

    Args:
        streamed: Whether each token is passed on at once. Otherwise tokens are passed on with the
            next other event, so that the loop does not wake up for each of them.
    """

    def __init__(self, *, streamed: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[News | Phi2Error] = asyncio.Queue()
        self._alarm: asyncio.TimerHandle | None = None
        self._streamed = streamed
        self._held: list[News] = []  # only the thread of the worker uses it

    def put_from_thread(self, news: News) -> None:
        self._held.append(news)
        if isinstance(news, Generated) and not self._streamed:
            return
        held, self._held = self._held, []
        try:
            self._loop.call_soon_threadsafe(self._put, held)
        except RuntimeError:  # the loop is closed, and no task waits
            return

    def _put(self, several: Sequence[News]) -> None:
        for news in several:
            self._news.put_nowait(news)

    def time_out_after(self, seconds: float, allowed: float) -> None:
        error = Timeout(f"no complete answer within {allowed} s")
        self._alarm = self._loop.call_later(seconds, self._news.put_nowait, error)

    async def get(self) -> News:
        news = await self._news.get()
        if isinstance(news, Phi2Error):
            raise news
        return news

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()


async def _events(
    mailbox: _Mailbox, name: str, prompt_tokens: int, streamed: bool
) -> AsyncGenerator[Event, None]:
    """Turn the events of the worker into events of a request."""
    chunks: list[Chunk] = []
    count = 0
    while True:
        news = await mailbox.get()
        if isinstance(news, Admitted):
            yield Opened(news.t_ns, model=name, input=Count(prompt_tokens))
        elif isinstance(news, Generated):
            step = news.step
            count += 1
            ids, logprobs = (step.id,), (step.logprob,)
            chunk = Chunk(step.text, step.text, news.t_ns, ids, logprobs, 1, last=news.last)
            if streamed:
                yield chunk
            else:
                chunks.append(chunk)
        elif isinstance(news, Failed):
            raise news.error
        else:
            if chunks:
                yield _joined(chunks, news.t_ns)
            usage = Usage(input=Count(prompt_tokens), output_billed=Count(count))
            yield Done(news.t_ns, news.reason, usage, model=name)
            return


def _joined(chunks: list[Chunk], t_ns: int) -> Chunk:
    text = "".join(chunk.text for chunk in chunks)
    ids = tuple(id for chunk in chunks for id in chunk.token_ids)
    logprobs = tuple(value for chunk in chunks for value in chunk.logprobs)
    return Chunk(text, text, t_ns, ids, logprobs, len(chunks))


def _refuse_forked_gpu(worker: Worker) -> None:
    """Refuse a model on a GPU in a forked child; on a CPU, the child starts a new worker.

    Raises:
        ConfigurationError: The model is on a GPU, or still being loaded.
    """
    model = worker.model
    loaded = model.done() and model.exception() is None
    if not model.done() or (loaded and not model.result().device.startswith("cpu")):
        raise ConfigurationError(
            "this process was forked after the model was loaded onto a GPU, which a forked process "
            "cannot use. Start processes with multiprocessing.get_context('spawn')"
        )


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigurationError(f"{name}={value!r} is unknown. Use one of {', '.join(known)}")
