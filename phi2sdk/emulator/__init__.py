"""Emulators of the providers of Phi-2 on loopback, with their protocols, limits and faults.

::

    async with Emulator(ScriptedEngine("Forty-two.")) as emulator:
        emulator.azure.faults.push(Fault("status", status=429))
        ...                                     # drive any client against emulator.azure.url
        assert emulator.azure.calls[0].authorized

Each name is imported on first use, so that ``python -m phi2sdk.emulator`` starts before heavy
packages are loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phi2sdk.emulator.clock import Schedule as Schedule
    from phi2sdk.emulator.emulator import PROVIDERS as PROVIDERS
    from phi2sdk.emulator.emulator import Emulator as Emulator
    from phi2sdk.emulator.emulator import EmulatorThread as EmulatorThread
    from phi2sdk.emulator.emulator import Provider as Provider
    from phi2sdk.emulator.emulator import PublicBindRefused as PublicBindRefused
    from phi2sdk.emulator.engine import Decoding as Decoding
    from phi2sdk.emulator.engine import Engine as Engine
    from phi2sdk.emulator.engine import ScriptedEngine as ScriptedEngine
    from phi2sdk.emulator.engine import Token as Token
    from phi2sdk.emulator.exchange import Call as Call
    from phi2sdk.emulator.exchange import Meter as Meter
    from phi2sdk.emulator.faults import Fault as Fault
    from phi2sdk.emulator.model_engine import ModelEngine as ModelEngine

_HOME = {
    **dict.fromkeys(("Call", "Meter"), "exchange"),
    "Schedule": "clock",
    **dict.fromkeys(
        ("PROVIDERS", "Emulator", "EmulatorThread", "Provider", "PublicBindRefused"), "emulator"
    ),
    **dict.fromkeys(("Decoding", "Engine", "ScriptedEngine", "Token"), "engine"),
    "Fault": "faults",
    "ModelEngine": "model_engine",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
