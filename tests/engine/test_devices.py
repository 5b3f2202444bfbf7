from __future__ import annotations

import pytest

from phi2sdk.backends.engine import memory as devices
from phi2sdk.errors import ConfigurationError


def test_this_machine_has_memory() -> None:
    assert devices.available_ram() > 0
    here = devices.this_device("cpu")
    assert here.name == "CPU"
    assert here.memory_bytes == pytest.approx(devices.available_ram(), rel=0.2)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Use auto, cuda or cpu"):
        devices.this_device("tpu")
