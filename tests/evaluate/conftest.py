"""The bundled model behind the protocol of every provider, and the targets that ask it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from phi2sdk.backends.engine import LocalModel
from phi2sdk.config import Target
from phi2sdk.emulator import Emulator, ModelEngine
from phi2sdk.pricing import resolve
from phi2sdk.secret import Secret

PRICE = {"model": "per-token", "input": 1.0, "output": 2.0, "source": "s", "date": "2026-11-01"}
LOCAL = Target("local", "local", {"model": "demo", "dtype": "float32", "device": "cpu"})


@pytest.fixture(scope="module")
def hosted() -> Iterator[Emulator]:
    """All providers, with the bundled model behind them."""
    engine = ModelEngine(LocalModel.load("demo", dtype="float32", device="cpu"), name="demo")
    with Emulator(engine).running() as emulator:
        yield emulator
    engine.close()


@pytest.fixture(scope="module")
def targets(hosted: Emulator) -> Mapping[str, Target]:
    """A target for each provider, and the bundled model here."""
    key = Secret(hosted.key)
    settings = {
        "openai": {
            "base_url": f"{hosted.openai.url}/v1",
            "api_key": key,
            "model": "demo",
            "server": "vllm",
        },
        "hf": {"endpoint": hosted.hf.url, "api_key": key},
        "azure": {"style": "score", "endpoint": hosted.azure.url, "api_key": key},
        "clarifai": {"base": f"http://{hosted.clarifai.url}", "api_key": key},
    }
    price = resolve(PRICE)
    far = {name: Target(name, name, one, price, simulated=True) for name, one in settings.items()}
    return {"local": LOCAL, **far}
