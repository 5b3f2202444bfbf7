"""Read the power of the GPU during a run, through NVML.

Readings require the package nvidia-ml-py and a device that reports its power. Without readings, the
cost uses the watts that the price states.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Event, Thread
from time import perf_counter_ns
from typing import Any, Self

from phi2sdk.measure.folder import Run
from phi2sdk.measure.records import Record
from phi2sdk.pricing.models import Owned
from phi2sdk.pricing.price import Price

PERIOD_S = 0.1


class PowerMeter:
    """Reads the power of the first visible GPU, the one that a local target works on."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._device: Any = None

    def open(self) -> bool:
        """Find the device; return whether it reports its power."""
        try:
            import pynvml
        except ImportError:
            return False
        with suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            self._nvml = pynvml
            self._device = _first_visible(pynvml)
        return self.read() is not None

    def read(self) -> float | None:
        """Return the power in watts; ``None`` if the device does not report it."""
        if self._device is None:
            return None
        try:
            return float(self._nvml.nvmlDeviceGetPowerUsage(self._device)) / 1e3
        except self._nvml.NVMLError:
            return None

    def close(self) -> None:
        """Give the library back."""
        if self._nvml is not None:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
        self._nvml = self._device = None


class Sampler:
    """Adds power readings to the health reports of a run, while its block runs.

    Readings are taken on a thread of their own: the driver may take its time, the loop may not.

    Args:
        report: Takes a health report.
        epoch_ns: ``perf_counter_ns`` at the start of the session.
        meter: What is read.
    """

    def __init__(
        self,
        report: Callable[[Mapping[str, Any]], None],
        epoch_ns: int,
        meter: PowerMeter | None = None,
    ) -> None:
        self._report = report
        self._epoch_ns = epoch_ns
        self._meter = meter or PowerMeter()
        self._samples: list[tuple[int, float]] = []
        self._stop = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        if self._meter.open():
            self._thread = Thread(target=self._run, name="phi2-power", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._meter.close()

    def report(self, health: Mapping[str, Any]) -> None:
        """Pass a health report on, with the readings since the last one."""
        samples, self._samples = self._samples, []
        self._report({**health, "watts": samples} if samples else health)

    def _run(self) -> None:
        while not self._stop.is_set():
            watts = self._meter.read()
            if watts is not None:
                self._samples.append((perf_counter_ns() - self._epoch_ns, round(watts, 1)))
            self._stop.wait(PERIOD_S)


def watts_while_busy(
    health: Iterable[Mapping[str, Any]], records: Iterable[Record]
) -> float | None:
    """The mean of the readings that fall into a request; ``None`` where none does."""
    spans = _merged(records)
    found = []
    for event in health:
        begins, ends = spans.get(event["session"], ((), ()))
        for t_ns, watts in event.get("watts", ()):
            place = bisect_right(begins, t_ns) - 1
            if place >= 0 and t_ns <= ends[place]:
                found.append(float(watts))
    return sum(found) / len(found) if found else None


def price_of(run: Run, target: str, records: Iterable[Record]) -> Price | None:
    """Return the price of a target, with the power that was measured while it worked here.

    Returns ``None`` if no price is configured, or :func:`wrong_device` has a reason.
    """
    described = run.configuration["targets"][target]
    if described["price"] is None or wrong_device(run, target) is not None:
        return None
    price = Price.model_validate(described["price"])
    if described["backend"] == "local" and any(isinstance(part, Owned) for part in price.parts):
        watts = watts_while_busy(run.recorded.health, records)
        return price if watts is None else price.measured(watts)
    return price


def device_of(run: Run, target: str) -> str | None:
    """Return the device on which a local target ran: ``a CPU`` or the name of a GPU.

    Returns ``None`` for other targets, and if the run did not record the device.
    """
    described, machine = run.configuration["targets"][target], run.info["machine"]
    if described["backend"] != "local":
        return None
    if described["settings"].get("device") == "cpu":
        return "a CPU"
    return (machine["gpu"] or "a CPU") if "gpu" in machine else None


def wrong_device(run: Run, target: str) -> str | None:
    """Return why the price of a target does not apply to the device on which it ran.

    The devices of the price book are GPUs, whose price does not apply to a CPU.
    """
    described = run.configuration["targets"][target]
    if described["price"] is None or device_of(run, target) != "a CPU":
        return None
    for part in Price.model_validate(described["price"]).parts:
        if isinstance(part, Owned) and part.device is not None:
            return f"its price is that of the GPU {part.device}, and it ran on a CPU"
    return None


def _merged(records: Iterable[Record]) -> dict[int, tuple[list[int], list[int]]]:
    """Return the disjoint spans with requests in flight, by session."""
    by_session: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for record in records:
        if record.t_send_ns is not None:
            by_session[record.session].append((record.t_send_ns, record.t_close_ns))
    merged = {}
    for session, spans in by_session.items():
        begins: list[int] = []
        ends: list[int] = []
        for begin, end in sorted(spans):
            if ends and begin <= ends[-1]:
                ends[-1] = max(ends[-1], end)
            else:
                begins.append(begin)
                ends.append(end)
        merged[session] = (begins, ends)
    return merged


def _first_visible(nvml: Any) -> Any:
    """The device that CUDA calls 0; NVML numbers all devices, visible or not."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
        if uuid is not None:
            return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    return nvml.nvmlDeviceGetHandleByIndex(0)
