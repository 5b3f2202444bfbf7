"""phi2sdk: one client for Phi-2 on any provider, and a comparison of providers.

>>> from phi2sdk import Phi2Client, prompts# doctest: +SKIP
>>> with Phi2Client("local") as phi:                   # doctest: +SKIP
...     print(phi.generate(prompts.instruct("Explain tides."), max_tokens=100))

Importing this package loads nothing heavy: each public name is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phi2sdk import errors as errors
    from phi2sdk import prompts as prompts
    from phi2sdk.client.async_client import AsyncPhi2Client as AsyncPhi2Client
    from phi2sdk.client.budget import Spending as Spending
    from phi2sdk.client.sync_client import Phi2Client as Phi2Client
    from phi2sdk.client.telemetry import Telemetry as Telemetry
    from phi2sdk.completion import Chunk as Chunk
    from phi2sdk.completion import Completion as Completion
    from phi2sdk.completion import Receipt as Receipt
    from phi2sdk.config import Target as Target
    from phi2sdk.errors import Phi2Error as Phi2Error
    from phi2sdk.prompts import Prompt as Prompt
    from phi2sdk.sampling import Sampling as Sampling
    from phi2sdk.secret import Secret as Secret
    from phi2sdk.transport.http import Timeouts as Timeouts

__version__ = "0.1.0"

_HOME = {
    "AsyncPhi2Client": "phi2sdk.client.async_client",
    "Chunk": "phi2sdk.completion",
    "Completion": "phi2sdk.completion",
    "Phi2Client": "phi2sdk.client.sync_client",
    "Phi2Error": "phi2sdk.errors",
    "Prompt": "phi2sdk.prompts",
    "Receipt": "phi2sdk.completion",
    "Sampling": "phi2sdk.sampling",
    "Secret": "phi2sdk.secret",
    "Spending": "phi2sdk.client.budget",
    "Target": "phi2sdk.config",
    "Telemetry": "phi2sdk.client.telemetry",
    "Timeouts": "phi2sdk.transport.http",
    "errors": "phi2sdk.errors",
    "prompts": "phi2sdk.prompts",
}

__all__ = sorted((*_HOME, "__version__"))


def __getattr__(name: str) -> Any:
    try:
        module = importlib.import_module(_HOME[name])
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return module if name in ("errors", "prompts") else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
