"""The providers of Phi-2 on loopback: their wire protocols, strictness, faults and clocks.

::

    async with Emulator(ScriptedEngine("Forty-two.")) as emulator:
        emulator.azure.faults.push(Fault("status", status=429))
        ...                                     # drive any client against emulator.azure.url
        assert emulator.azure.calls[0].authorized
"""

from phi2sdk.emulator.calls import Call, Meter
from phi2sdk.emulator.clock import Schedule
from phi2sdk.emulator.emulator import (
    PROVIDERS,
    Emulator,
    EmulatorThread,
    Provider,
    PublicBindRefused,
)
from phi2sdk.emulator.engine import Decoding, Engine, ScriptedEngine, Token
from phi2sdk.emulator.faults import Fault
from phi2sdk.emulator.model_engine import ModelEngine

__all__ = [
    "PROVIDERS",
    "Call",
    "Decoding",
    "Emulator",
    "EmulatorThread",
    "Engine",
    "Fault",
    "Meter",
    "ModelEngine",
    "Provider",
    "PublicBindRefused",
    "Schedule",
    "ScriptedEngine",
    "Token",
]
