"""The memory that there is: of GPUs by name, and of this machine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from phi2sdk.errors import ConfigurationError

__all__ = ["DEVICES", "GB", "Device", "available_ram", "this_device"]

GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU; memory in bytes as its maker counts it (1 GB is 1e9)."""

    name: str
    memory_bytes: int


DEVICES: Mapping[str, Device] = {
    name: Device(name, gb * GB)
    for name, gb in (
        ("T4", 16),
        ("L4", 24),
        ("A10G", 24),
        ("A100", 80),
        ("H100", 80),
        ("H200", 141),
    )
}


def this_device(name: str = "auto") -> Device:
    """The device of this machine, with the bytes that are free on it: its GPU, if torch sees one.

    Raises:
        ConfigurationError: ``name`` is not ``auto``, ``cuda`` or ``cpu``, or there is no GPU.
    """
    if name not in ("auto", "cuda", "cpu"):
        raise ConfigurationError(f"device={name!r}: use auto, cuda or cpu")
    if name != "cpu" and importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return Device(torch.cuda.get_device_name(), torch.cuda.mem_get_info()[0])
    if name == "cuda":
        raise ConfigurationError("torch finds no CUDA device here")
    return Device("CPU", available_ram())


def available_ram() -> int:
    """Bytes of main memory that a new allocation may take on this machine.

    Reads ``MemAvailable``, the limit of the control group, and where neither is known the
    size of the physical memory.
    """
    free = _meminfo_available()
    limit = _cgroup_headroom()
    known = [value for value in (free, limit) if value is not None]
    if known:
        return min(known)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _meminfo_available() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup_headroom() -> int | None:
    root = Path("/sys/fs/cgroup")
    try:
        limit = (root / "memory.max").read_text(encoding="ascii").strip()
        used = int((root / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (root / "memory.stat").read_text("ascii").splitlines())
    except (OSError, ValueError):
        return None
    used -= int(stat.get("inactive_file", 0))  # page cache, given back on demand
    return max(0, int(limit) - used) if limit.isdigit() else None
