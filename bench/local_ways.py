"""Functions that run requests in the engine or in a peer, and return tokens per second."""

from __future__ import annotations

import random
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from common import Report, median, peer_python
from local_models import CHECKPOINT, Requests, timed, transformers

from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.slots import Row, Slots
from phi2sdk.sampling import Sampling


def batched(slots: Slots, requests: Requests) -> float:
    """Run all requests in slots, starting at the same time."""
    waiting, left = list(requests), {}
    began = time.perf_counter()
    while waiting or left:
        while waiting and slots.free:
            ids, count = waiting.pop(0)
            left[slots.join(ids, Sampling(max_tokens=count))] = count
        for token in slots.step():
            left[token.row] -= 1
            if not left[token.row]:
                slots.leave(token.row)
                del left[token.row]
    return sum(count for _, count in requests) / (time.perf_counter() - began)


def sequentially(model: LocalModel, requests: Requests) -> float:
    """Run the requests in the engine, one at a time."""
    if not model._spare:
        model._spare.append(model.slots(1))
    return batched(model._spare[0], requests)


def generate_each(model: Any, requests: Requests) -> float:
    """Run ``transformers.generate`` with its default settings, one request at a time."""
    began = time.perf_counter()
    for ids, count in requests:
        text = torch.tensor([ids], device=model.device)
        generate(model, text, torch.ones_like(text), count)
    return sum(count for _, count in requests) / (time.perf_counter() - began)


def generate_padded(model: Any, requests: Requests, size: int) -> float:
    """Run ``transformers.generate`` on batches, padded on the left to the longest prompt."""
    began = time.perf_counter()
    for at in range(0, len(requests), size):
        batch = requests[at : at + size]
        longest = max(len(ids) for ids, _ in batch)
        text = torch.tensor([[0] * (longest - len(ids)) + ids for ids, _ in batch])
        mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in batch])
        generate(model, text, mask, max(count for _, count in batch))
    return sum(count for _, count in requests) / (time.perf_counter() - began)


def continuous(
    model: Any, requests: Requests, size: int, arrivals: list[float] | None = None
) -> tuple[float, list[float]]:
    """Run transformers' continuous batching; also return the latency of each request."""
    plain = transformers.GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)
    room = transformers.ContinuousBatchingConfig(
        num_blocks=64, max_batch_tokens=512, max_requests_per_batch=size
    )
    waiting = deque(zip(arrivals or [0.0] * len(requests), requests, strict=True))
    came, took = {}, []
    with model.continuous_batching_context_manager(
        generation_config=plain, continuous_batching_config=room
    ) as manager:
        began = time.perf_counter()
        while waiting or came:
            now = time.perf_counter() - began
            while waiting and waiting[0][0] <= now:
                at, (ids, count) = waiting.popleft()
                name = manager.add_request(ids, max_new_tokens=count, eos_token_id=-1)
                came[name] = at
            left = max(0.0, waiting[0][0] - now) if waiting else 1.0
            result = manager.get_result(timeout=min(1.0, left + 1e-4))
            if result is not None and result.is_finished():
                took.append(time.perf_counter() - began - came.pop(result.request_id))
            elif result is None and not manager.is_running():
                raise RuntimeError("transformers' continuous batching stopped")
        seconds = time.perf_counter() - began
    return sum(count for _, count in requests) / seconds, took


def arriving(slots: Slots, requests: Requests, arrivals: list[float]) -> tuple[float, list[float]]:
    """Run each request in the engine at its arrival; also return the latency of each request."""
    waiting = deque(zip(arrivals, requests, strict=True))
    left: dict[Row, int] = {}
    came, took = {}, []
    began = time.perf_counter()
    while waiting or left:
        now = time.perf_counter() - began
        if not left and waiting[0][0] > now:
            time.sleep(waiting[0][0] - now)
        while waiting and slots.free and waiting[0][0] <= time.perf_counter() - began:
            at, (ids, count) = waiting.popleft()
            row = slots.join(ids, Sampling(max_tokens=count))
            left[row], came[row] = count, at
        for token in slots.step():
            left[token.row] -= 1
            if not left[token.row]:
                slots.leave(token.row)
                del left[token.row]
                took.append(time.perf_counter() - began - came.pop(token.row))
    return sum(count for _, count in requests) / (time.perf_counter() - began), took


def poisson(count: int, rate: float) -> list[float]:
    """Return random arrival times with ``rate`` arrivals per second on average."""
    rng, at = random.Random(1), 0.0
    return [at := at + rng.expovariate(rate) for _ in range(count)]


@contextmanager
def llamacpp(threads: int) -> Iterator[Callable[[Requests], float]]:
    """Run llama.cpp with the bundled checkpoint in another process."""
    worker = Path(__file__).with_name("local_llamacpp.py")
    command = [peer_python("xllamacpp"), worker, CHECKPOINT, str(threads)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, told = process.stdin, process.stdout

        def run(requests: Requests) -> float:
            ((ids, count),) = requests
            print(count, *ids, file=asked, flush=True)
            return float(told.readline())

        try:
            if told.readline().strip() != "ready":
                raise RuntimeError("llama.cpp did not load the converted weights")
            yield run
        finally:
            asked.close()


def suited(trial: Callable[[], object], run: Callable[[], float]) -> Callable[[], float]:
    """Return ``run`` with one torch thread or with all, whichever is faster for ``trial``.

    On a busy machine all threads are many times slower than one (docs/how-it-works/performance.md).
    """
    usual = torch.get_num_threads()
    seconds: dict[int, list[float]] = {1: [], usual: []}

    def on(threads: int, run: Callable[[], float]) -> float:
        torch.set_num_threads(threads)
        try:
            return run()
        finally:
            torch.set_num_threads(usual)

    for _ in range(4):
        for threads, taken in seconds.items():
            taken.append(on(threads, lambda: timed(trial)))
    best = min(seconds, key=lambda threads: median(seconds[threads][1:]))
    return lambda: on(best, run)


def generate(model: Any, ids: torch.Tensor, mask: torch.Tensor, count: int) -> None:
    model.generate(
        ids,
        attention_mask=mask,
        min_new_tokens=count,
        max_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
    )
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def warm(slots: Slots) -> Slots:
    slots.warm_up()
    return slots


def alternate(
    ways: dict[str, Callable[[], float]], rounds: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Run alternating rounds; return the first one's median ratio to every other, and all rates."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    if rounds > 3:  # few rounds are long ones, and their median excludes the first
        for run in ways.values():
            run()  # the first run allocates memory and selects kernels
    for _ in range(rounds):
        for name, run in ways.items():
            rates[name].append(run())
    first, *others = rates
    pairs = {name: zip(rates[first], rates[name], strict=True) for name in others}
    return {name: median(a / b for a, b in pair) for name, pair in pairs.items()}, rates


def rows(report: Report, what: str, rates: dict[str, list[float]]) -> None:
    for name, measured in rates.items():
        report.row(
            what=what,
            who=name,
            median=median(measured),
            least=min(measured),
            most=max(measured),
            rounds=len(measured),
        )
