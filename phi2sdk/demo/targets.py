"""The targets of the demo: a small bundled model, run here and behind every provider's protocol.

No account is needed. The emulated providers answer with the output of the bundled model over their
real wire protocols, but their latency is simulated. Two of them do not serve the model that they
claim to serve, so that the identity tests have something to detect. All prices are examples.
"""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from phi2sdk.client.sync_client import AsyncPhi2Client
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.tokens import ReferenceTokenizer, load_tokenizer
from phi2sdk.measure.workload import Workload, read_input
from phi2sdk.pricing.price import resolve
from phi2sdk.secret import Secret

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

Provider = Literal["azure", "clarifai", "hf", "openai"]

DEMO_TARGETS = (
    "local_float32",
    "local_bfloat16",
    "azure",
    "clarifai",
    "hf",
    "openai",
    "hf_int4",
    "openai_t08",
)
"""The last two do not serve the model that they claim: ``hf_int4`` quantizes the weights to int4,
and ``openai_t08`` samples at temperature 0.8 whatever temperature is requested. Its greedy answers
are those of the model."""

IDENTITY = 72
"""Sampled answers per target, three to each prompt: enough to detect both of them."""
IDENTITY_CONCURRENCY = 16
REFERENCE = "local_float32"
_NEEDED = ("torch", "clarifai_grpc", "grpc")


@dataclass(frozen=True, slots=True)
class _Emulated:
    """One emulated provider.

    Attributes:
        first: Seconds until its first token.
        per_token: Seconds between tokens.
        price: Its price, as in ``phi2.toml``; ``None``: the example in ``prices.toml``.
        provider: The provider whose protocol it serves.
        quantize: The quantization that it uses and does not disclose.
        temperature: The temperature that it samples at, whatever is requested.
    """

    first: float
    per_token: float
    price: Mapping[str, Any] | None
    provider: Provider
    quantize: Literal["int4"] | None = None
    temperature: float | None = None


_HF_L4 = {"book": "hf/aws-l4", "idle": 900, "cold_start": 60}
_EMULATED = {
    "azure": _Emulated(0.03, 0.002, {"book": "azure/Standard_NC4as_T4_v3"}, "azure"),
    "clarifai": _Emulated(0.05, 0.0015, None, "clarifai"),
    # Scales to zero, so that it is cheaper than the always-on machine at low volumes.
    "hf": _Emulated(0.025, 0.002, _HF_L4, "hf"),
    "openai": _Emulated(0.02, 0.0015, {"book": "together/phi-2"}, "openai"),
    "hf_int4": _Emulated(0.02, 0.001, _HF_L4, "hf", quantize="int4"),
    "openai_t08": _Emulated(0.02, 0.001, {"book": "together/phi-2"}, "openai", temperature=0.8),
}


def demo_workload(workload: Workload | None = None) -> Workload:
    """Return the bundled paragraphs, to summarize them."""
    if workload is not None:
        return workload
    from phi2sdk.demo import paragraphs_path

    path = paragraphs_path()
    return Workload(path.name, read_input(path), "summarize")


def demo_identity_workload() -> Workload:
    """Return open-ended instructions; the summaries have too little entropy for identity tests."""
    from phi2sdk.demo import open_ended_path

    path = open_ended_path()
    return Workload(path.name, read_input(path), "prompt", "instruct")


@asynccontextmanager
async def demo_candidates(
    names: Sequence[str] = (), *, notice: Callable[[str], None] | None = None
) -> AsyncGenerator[tuple[list[Candidate], ReferenceTokenizer], None]:
    """Load the model, start the emulators, and open a client for each target.

    Args:
        names: Some of :data:`DEMO_TARGETS`; all if none is named.
        notice: Receives a sentence about each step that takes a while.

    Raises:
        ConfigurationError: A name is unknown, or a package of the demo is not installed.
    """
    chosen = choose(names)
    from phi2sdk.backends.local_gpu import LocalBackend

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
        servers = _start([name for name in _EMULATED if name in chosen], model, stack)
        candidates = []
        for name in chosen:
            if name in local:
                client = AsyncPhi2Client(local[name])
                settings = {"model": "demo", "dtype": name.removeprefix("local_")}
                price = resolve(_example_prices()["local"])
                candidates.append(Candidate(name, "local", client, settings, price))
            else:
                candidates.append(_candidate(name, servers[name]))
                stack.push_async_callback(candidates[-1].client.close)
        yield candidates, demo_tokenizer()


def demo_tokenizer() -> ReferenceTokenizer:
    """Return the tokenizer of the bundled checkpoint."""
    from phi2sdk.demo import checkpoint_path

    return load_tokenizer(checkpoint_path(), "the demo checkpoint's own")


def choose(names: Sequence[str]) -> list[str]:
    """Return the targets of the demo with these names, all if none is named.

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


def _start(names: Sequence[str], honest: LocalModel, stack: AsyncExitStack) -> dict[str, Any]:
    """Start the servers of some emulated providers; those with one engine share a thread.

    They run in threads of their own, so that they do not delay the event loop that reads the clock.
    """
    from phi2sdk.backends.engine.model import LocalModel
    from phi2sdk.emulator import Emulator, ModelEngine, Schedule

    engines: dict[tuple[str | None, float | None], list[str]] = {}
    for name in names:
        kind = _EMULATED[name]
        engines.setdefault((kind.quantize, kind.temperature), []).append(name)
    servers = {}
    for (quantize, temperature), served in engines.items():
        model = honest
        if quantize is not None:
            model = LocalModel.load("demo", quantize="int4", device="cpu")
        engine = ModelEngine(model, temperature=temperature)
        stack.callback(engine.close)
        providers = [_EMULATED[name].provider for name in served]
        emulator = Emulator(engine, key="demo-key", providers=providers)
        for name in served:
            kind = _EMULATED[name]
            servers[name] = getattr(emulator, kind.provider)
            servers[name].schedule = Schedule(first=kind.first, per_token=kind.per_token)
        stack.enter_context(emulator.running())
    return servers


def _example_prices() -> dict[str, Any]:
    from phi2sdk.demo import prices_path

    return tomllib.loads(prices_path().read_text(encoding="utf-8"))


def _candidate(name: str, server: Any) -> Candidate:
    kind = _EMULATED[name]
    backend, key = kind.provider, Secret(server.key)
    settings: dict[str, dict[str, Any]] = {
        "azure": {"style": "score", "endpoint": server.url, "api_key": key},
        "clarifai": {"base": f"http://{server.url}", "api_key": key},
        "hf": {"endpoint": server.url, "api_key": key},
        "openai": {"base_url": f"{server.url}/v1", "api_key": key, "model": server.engine.model},
    }
    price = resolve(kind.price or _example_prices()[backend])
    target = Target(name, backend, settings[backend], price, simulated=True)
    described = {
        "protocol": "azure.score" if backend == "azure" else backend,
        "model": "demo",
        "dtype": kind.quantize or "float32",
        "first": kind.first,
        "per_token": kind.per_token,
    }
    if kind.temperature is not None:
        described["temperature"] = kind.temperature
    return Candidate(name, backend, AsyncPhi2Client(target), described, price, simulated=True)
