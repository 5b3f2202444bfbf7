"""What `import phi2sdk` promises: these names, and nothing heavy."""

from __future__ import annotations

import subprocess
import sys

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
        "__version__",
        "errors",
        "prompts",
    }


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
