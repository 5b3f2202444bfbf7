"""Clarifai (stand-in until written)."""

from __future__ import annotations
from phi2sdk.emulator.clock import Schedule
from phi2sdk.emulator.engine import Engine


class ClarifaiServer:
    def __init__(self, engine: Engine, *, key: str, schedule: Schedule) -> None:
        self.engine = engine
        self.key = key
        self.schedule = schedule
        self.url = ""

    async def start(self, host: str, port: int) -> None: ...
    async def stop(self) -> None: ...
