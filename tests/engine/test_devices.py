from __future__ import annotations

import pytest

from phi2sdk.backends.engine import memory as devices
from phi2sdk.backends.engine.model import slow_on_gpu
from phi2sdk.errors import ConfigurationError


def test_this_machine_has_memory() -> None:
    assert devices.available_ram() > 0
    here = devices.this_device("cpu")
    assert here.name == "CPU"
    assert here.memory_bytes == pytest.approx(devices.available_ram(), rel=0.2)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Use auto, cuda or cpu"):
        devices.this_device("tpu")


def test_slow_formats_of_a_gpu_come_with_advice() -> None:
    turing, ampere = (7, 5), (8, 0)
    assert slow_on_gpu("float16", None, turing) is None
    assert slow_on_gpu("bfloat16", None, ampere) is None
    assert "Use dtype float16" in (slow_on_gpu("bfloat16", None, turing) or "")
    assert "saves memory and not time" in (slow_on_gpu("float16", "int4", ampere) or "")
