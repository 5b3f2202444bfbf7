"""Canary keys: sent in one header, and found nowhere else."""

from __future__ import annotations

import asyncio
import copy
import gc
import io
import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from phi2sdk import AsyncPhi2Client, Phi2Client
from phi2sdk.cli import main as phi2
from phi2sdk.client.telemetry import Telemetry
from phi2sdk.config import load_config
from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.secret import Secret
from tests.reliability.matrix import ANSWER, HTTP, KEY, TARGETS
from tests.reliability.stage import OPTIONS, PROMPT, open_backend, secrets, url_of, without_waits

FAULTS = (
    None,
    Fault("status", status=401, body=f"bad key {KEY}"),
    Fault("status", status=500, body={"error": {"message": f"Bearer {KEY}", "code": KEY}}),
    Fault("status", status=429, headers={"x-request-id": f"id-{KEY}"}),
    Fault("reset"),
    Fault("garbage", form="truncated"),
    Fault("error_event", after=1, body={"error": {"message": KEY, "code": KEY, "type": KEY}}),
    Fault("clarifai", status=11009, body=f"key {KEY} not found"),
    Fault("grpc", code="UNAUTHENTICATED", body=f"key {KEY}"),
)


def found_in(text: str) -> list[str]:
    """The forms of the key that stand in ``text``."""
    return [form for form, secret in secrets().items() if secret in text]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(ScriptedEngine(ANSWER), key=KEY).running() as running:
        yield running


@pytest.fixture
def everything_logged() -> Iterator[io.StringIO]:
    """Return the log of every library at its most verbose level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(args)r"))
    root = logging.getLogger()
    names = ["", *(n for n in logging.root.manager.loggerDict if "hypothesis" not in n)]
    before = {name: logging.getLogger(name).level for name in names}
    root.addHandler(handler)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("target", TARGETS)
def test_no_library_logs_the_key_and_no_object_shows_it(
    target: str,
    emulator: Emulator,
    everything_logged: io.StringIO,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = getattr(emulator, TARGETS[target][0])
    shown: list[str] = []
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    telemetry = Telemetry(content=True, tracer_provider=tracers, meter_provider=meters)

    async def main() -> None:
        asyncio.get_running_loop().set_debug(True)
        backend = open_backend(target, url_of(emulator, target))
        async with AsyncPhi2Client(backend, telemetry=telemetry) as phi:
            phi.backend = without_waits(backend, attempts=2)
            shown.append(f"{phi!r} {vars(phi)!r} {backend!r} {vars(backend)!r}")
            shown.append(repr(vars(backend._wire)))  # type: ignore[attr-defined]
            for fault in FAULTS:
                if fault is not None:
                    server.faults.push(fault, times=2)
                for use in (phi.generate(PROMPT, **OPTIONS), read(phi)):
                    try:
                        shown.append(repr(await use))
                    except Phi2Error as error:
                        shown.extend(all_of(error))
                server.faults.clear()

    asyncio.run(main(), debug=True)
    gc.collect()
    output = capfd.readouterr()
    assert found_in("".join(shown)) == []
    assert found_in(everything_logged.getvalue()) == []
    assert "WARNING" in everything_logged.getvalue(), "our own logger has spoken"
    emitted = [span.to_json() for span in spans.get_finished_spans()]
    assert len(emitted) == 2 * len(FAULTS)
    assert any("phi2sdk.retry" in span for span in emitted)
    measured = reader.get_metrics_data()
    assert measured is not None
    assert found_in("".join([*emitted, measured.to_json()])) == []
    meters.shutdown()
    assert found_in(output.out + output.err) == []
    assert len(shown) > 2 * len(FAULTS)


async def read(phi: AsyncPhi2Client) -> Any:
    async with phi.stream(PROMPT, **OPTIONS) as stream:
        async for _ in stream:
            pass
    return stream.completion


def all_of(error: Phi2Error) -> list[str]:
    """All that somebody could print of an error, local variables of our own frames apart."""
    copied = pickle.loads(pickle.dumps(error))
    return [
        *(str(error), repr(error), repr(vars(error)), repr(vars(copied)), repr(error.args)),
        *traceback.format_exception(error),
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_a_traceback_with_local_variables_shows_no_key(target: str, emulator: Emulator) -> None:
    """Reporters such as Sentry and rich print the variables of each frame."""
    server = getattr(emulator, TARGETS[target][0])
    for fault in (
        Fault("status", status=401),
        Fault("reset"),
        Fault("garbage"),
        Fault("cut"),
    ):
        if target == "clarifai":
            fault = Fault("grpc", code="INTERNAL", body=f"key {KEY}")
        server.faults.push(fault)
        with (
            Phi2Client(open_backend(target, url_of(emulator, target)), attempts=1) as phi,
            pytest.raises(Phi2Error) as caught,
        ):
            phi.generate(PROMPT, **OPTIONS)
        server.faults.clear()
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        frames = [frame for stack in chain(told) for frame in stack.stack]
        frames = [frame for frame in frames if "/tests/" not in frame.filename]
        assert any("phi2sdk/" in frame.filename for frame in frames)
        leaks = [
            f"{frame.filename}:{frame.lineno} {name}"
            for frame in frames
            for name, value in (frame.locals or {}).items()
            if found_in(value)
        ]
        assert leaks == []


def chain(told: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    while told is not None:
        yield told
        told = told.__cause__ or told.__context__


def test_the_key_goes_into_headers_and_never_into_an_address(emulator: Emulator) -> None:
    for target in HTTP:
        server = getattr(emulator, TARGETS[target][0])
        with Phi2Client(open_backend(target, url_of(emulator, target))) as phi:
            phi.generate(PROMPT, **OPTIONS)
        call = server.calls[-1]
        assert call.authorized
        assert found_in(f"{call.path}?{call.query} {call.raw!r}") == []


def test_a_secret_is_never_shown() -> None:
    secret = Secret(KEY)
    assert found_in(f"{secret} {secret!r} {[secret]} {(secret,)}") == []
    for travel in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            travel(secret)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(secret, protocol)


@pytest.mark.parametrize("setting", ["key", "pat", "token", "api_key", "my_secret", "password"])
def test_a_key_in_the_configuration_is_refused_and_not_shown(setting: str, tmp_path: Path) -> None:
    path = tmp_path / "phi2.toml"
    path.write_text(f'[targets.a]\nbackend = "azure"\n{setting} = "{KEY}"\n')
    with pytest.raises(ConfigurationError, match="contains a secret in plain text") as caught:
        load_config(path)
    assert found_in("".join(all_of(caught.value))) == []


@pytest.mark.parametrize(
    "url",
    ["http://example.com", f"https://user:{KEY}@example.com", f"https://example.com/?key={KEY}"],
)
@pytest.mark.parametrize("target", TARGETS)
def test_an_address_that_would_show_the_key_is_refused(target: str, url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_backend(target, url)
    assert found_in("".join(all_of(caught.value))) == []


def test_the_command_line_shows_no_key(
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    for target in ("azure", "hf", "openai", "clarifai"):
        server = getattr(emulator, target)
        for faults in (0, 8):
            server.faults.push(Fault("status", status=401, body=f"bad {KEY}"), times=faults)
            monkeypatch.setattr(
                "sys.argv", ["phi2", "generate", "x", "--target", target, "--receipt"]
            )
            with pytest.raises(SystemExit):
                phi2()
            server.faults.clear()
    monkeypatch.setattr("sys.argv", ["phi2", "doctor"])
    with pytest.raises(SystemExit):
        phi2()
    output = capfd.readouterr()
    assert "Light guides ships." in output.out
    assert found_in(output.out + output.err) == []
