"""`import phi2sdk` provides the public names, and loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import phi2sdk

HEAVY = {"torch", "transformers", "aiohttp", "pydantic", "tenacity", "grpc", "numpy"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import phi2sdk, sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"


def test_every_public_name_is_there_and_no_other() -> None:
    assert dir(phi2sdk) == phi2sdk.__all__
    for name in phi2sdk.__all__:
        assert getattr(phi2sdk, name) is not None
    assert set(phi2sdk.__all__) == {
        "AsyncPhi2Client",
        "Chunk",
        "Completion",
        "Phi2Client",
        "Phi2Error",
        "Prompt",
        "Receipt",
        "Sampling",
        "Secret",
        "Spending",
        "Target",
        "Telemetry",
        "Timeouts",
        "__version__",
        "errors",
        "prompts",
    }


PUBLIC = (
    "phi2sdk.backends.azure.AzureBackend",
    "phi2sdk.backends.base.Backend",
    "phi2sdk.backends.clarifai.ClarifaiBackend",
    "phi2sdk.backends.hf.HFBackend",
    "phi2sdk.backends.local_gpu.LocalBackend",
    "phi2sdk.backends.openai.OpenAIBackend",
    "phi2sdk.client.AsyncPhi2Client",
    "phi2sdk.client.CompletionStream",
    "phi2sdk.client.Phi2Client",
    "phi2sdk.client.SyncCompletionStream",
    "phi2sdk.compare.Comparison",
    "phi2sdk.compare.Settings",
    "phi2sdk.compare.compare",
    "phi2sdk.compare.report_of",
    "phi2sdk.completion.Completion",
    "phi2sdk.config.FromEnvironment",
    "phi2sdk.config.Target",
    "phi2sdk.config.load_book",
    "phi2sdk.config.load_config",
    "phi2sdk.config.resolve",
    "phi2sdk.emulator.Emulator",
    "phi2sdk.emulator.Fault",
    "phi2sdk.errors.Phi2Error",
    "phi2sdk.pricing.Bill",
    "phi2sdk.pricing.Price",
    "phi2sdk.pricing.cost_of",
    "phi2sdk.pricing.resolve",
    "phi2sdk.prompts.instruct",
    "phi2sdk.sampling.Sampling",
    "phi2sdk.testing.Phi2Emulator",
)
"""Paths that applications may import from, whatever moves inside of the package."""


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_path_keeps_working(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert getattr(import_module(module), name) is not None


def test_imports_point_one_way() -> None:
    """Nothing in the product imports the emulators, the demo or the pytest plugin at import."""
    code = (
        "import phi2sdk.cli, phi2sdk.client, sys;"
        "print([m for m in sys.modules if m.startswith(("
        "'phi2sdk.emulator', 'phi2sdk.demo', 'phi2sdk.testing', 'torch', 'grpc'))])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"


def test_a_client_without_a_file_and_a_price_does_without_pydantic() -> None:
    code = (
        "import sys; from phi2sdk import AsyncPhi2Client;"
        "AsyncPhi2Client('openai', base_url='http://127.0.0.1:1/v1');"
        "print('pydantic' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
