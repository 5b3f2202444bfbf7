"""The demo's targets: a model of this package, run here and behind every provider's protocol.

No account is needed. What the emulated providers answer is real model output over their real
wire protocols; how fast they are and what they cost is simulated.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from phi2sdk.client import AsyncPhi2Client
from phi2sdk.config import Target
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.tokens import ReferenceTokenizer, load_tokenizer
from phi2sdk.measure.workload import Workload, read_input
from phi2sdk.pricing import resolve
from phi2sdk.secret import Secret

__all__ = ["DEMO_TARGETS", "choose", "demo_candidates", "demo_tokenizer", "demo_workload"]

DEMO_TARGETS = ("local_float32", "local_bfloat16", "azure", "clarifai", "hf", "openai")
REFERENCE = "local_float32"
_NEEDED = ("torch", "clarifai_grpc", "grpc")


@dataclass(frozen=True, slots=True)
class _Emulated:
    """One emulated provider: when its tokens leave (seconds), and a price as in phi2.toml."""

    first: float
    per_token: float
    price: Mapping[str, Any] | None


_EMULATED = {
    "azure": _Emulated(first=0.05, per_token=0.004, price={"book": "azure/Standard_NC4as_T4_v3"}),
    "clarifai": _Emulated(first=0.08, per_token=0.003, price=None),
    # Scales to zero: for a few summaries a day cheaper than a machine that is always on.
    "hf": _Emulated(
        first=0.04, per_token=0.004, price={"book": "hf/aws-l4", "idle": 900, "cold_start": 60}
    ),
    "openai": _Emulated(first=0.03, per_token=0.002, price={"book": "together/phi-2"}),
}


def demo_workload(workload: Workload | None = None) -> Workload:
    """The bundled paragraphs, to be summarised."""
    if workload is not None:
        return workload
    from phi2sdk.demo import paragraphs_path

    path = paragraphs_path()
    return Workload(path.name, read_input(path), "summarize")


@asynccontextmanager
async def demo_candidates(
    names: Sequence[str] = (), *, notice: Callable[[str], None] | None = None
) -> AsyncGenerator[tuple[list[Candidate], ReferenceTokenizer], None]:
    """Load the model, start the emulators, and open a client for each target.

    Args:
        names: Some of :data:`DEMO_TARGETS`; all if none is named.
        notice: Is told what takes a while.

    Raises:
        ConfigurationError: A name is unknown, or a package of the demo is not installed.
    """
    chosen = choose(names)
    from phi2sdk.backends.local_gpu import LocalBackend
    from phi2sdk.emulator import Emulator, ModelEngine, Schedule

    if notice is not None:
        notice("loading the bundled model ...")
    async with AsyncExitStack() as stack:
        local: dict[str, LocalBackend] = {}
        for dtype in ("float32", "bfloat16"):
            name = f"local_{dtype}"
            local[name] = LocalBackend(model="demo", dtype=dtype, device="cpu", target=name)
            stack.push_async_callback(local[name].close)
        model = await local[REFERENCE].load()
        if "local_bfloat16" in chosen:
            await local["local_bfloat16"].load()
        engine = ModelEngine(model)
        stack.callback(engine.close)
        emulated = [name for name in _EMULATED if name in chosen]
        emulator = Emulator(engine, key="demo-key", providers=emulated)  # type: ignore[arg-type]
        for name in emulated:
            pace = _EMULATED[name]
            getattr(emulator, name).schedule = Schedule(first=pace.first, per_token=pace.per_token)
        # A thread of its own: the emulators' work must not delay the loop that reads the clock.
        stack.enter_context(emulator.running())
        candidates = []
        for name in chosen:
            if name in local:
                client = AsyncPhi2Client(local[name])
                settings = {"model": "demo", "dtype": name.removeprefix("local_")}
                candidates.append(Candidate(name, "local", client, settings))
            else:
                candidates.append(_emulated(name, emulator))
                stack.push_async_callback(candidates[-1].client.close)
        yield candidates, demo_tokenizer()


def demo_tokenizer() -> ReferenceTokenizer:
    """The bundled checkpoint's own tokenizer."""
    from phi2sdk.demo import checkpoint_path

    return load_tokenizer(checkpoint_path(), "the demo checkpoint's own")


def choose(names: Sequence[str]) -> list[str]:
    """The demo's targets of these names, all if none is named.

    Raises:
        ConfigurationError: A name is unknown, or a package of the demo is not installed.
    """
    for name in names:
        if name not in DEMO_TARGETS:
            raise ConfigurationError(
                f"the demo has no target {name!r}: use {', '.join(DEMO_TARGETS)}"
            )
    for package in _NEEDED:
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(
                f"the demo needs {package}, which is not installed: "
                "python -m pip install 'phi2sdk[demo]'"
            )
    return [name for name in DEMO_TARGETS if not names or name in names]


def _emulated(name: Literal["azure"] | str, emulator: Any) -> Candidate:
    server, pace = getattr(emulator, name), _EMULATED[name]
    key = Secret(server.key)
    settings: dict[str, dict[str, Any]] = {
        "azure": {"style": "score", "endpoint": server.url, "key": key},
        "clarifai": {"base": f"http://{server.url}", "pat": key},
        "hf": {"endpoint": server.url, "token": key},
        "openai": {"base_url": f"{server.url}/v1", "api_key": key, "model": server.engine.model},
    }
    price = resolve(pace.price) if pace.price else None
    target = Target(name, name, settings[name], price, simulated=True)
    described = {
        "protocol": "azure.score" if name == "azure" else name,
        "model": "demo",
        "dtype": "float32",
        "first": pace.first,
        "per_token": pace.per_token,
    }
    return Candidate(name, name, AsyncPhi2Client(target), described, price, simulated=True)
