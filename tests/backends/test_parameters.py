"""The table of the documentation is the wire: sent exactly where it says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from phi2sdk import Secret, prompts
from phi2sdk.backends.azure import AzureBackend
from phi2sdk.backends.hf import HFBackend
from phi2sdk.backends.http import HTTPBackend
from phi2sdk.backends.openai import OpenAIBackend
from phi2sdk.backends.servers import SERVERS
from phi2sdk.completion import Request
from phi2sdk.emulator import Emulator
from phi2sdk.emulator.score import ScoreStyle
from phi2sdk.errors import UnsupportedParameter
from phi2sdk.sampling import PARAMETERS, Dialect, Sampling, translate
from tools.support import cell, dialects, main, support_table, write_table

from .conftest import ANSWER, KEY, ask

PAGE = Path(__file__).parents[2] / "docs" / "client" / "sampling.md"
PROMPT = prompts.raw("x")  # without stops of its own
OTHER: Mapping[str, Any] = {
    "max_tokens": 17,
    "temperature": 0.3,
    "top_p": 0.8,
    "top_k": 9,
    "min_p": 0.2,
    "repetition_penalty": 1.3,
    "seed": 11,
    "stop": ("END",),
}
_URL = "https://example.com"
_KEY = Secret("test-key")

BACKENDS: dict[str, Callable[..., HTTPBackend]] = {}


def _known(name: str, cls: Callable[..., HTTPBackend], **settings: Any) -> None:
    def make(**more: Any) -> HTTPBackend:
        return cls(**{**settings, **more})

    BACKENDS[name] = make


_known("azure.score (newer)", AzureBackend, endpoint=_URL, key=_KEY)
_known("azure.score (older)", AzureBackend, endpoint=_URL, key=_KEY, engine="older")
_known("azure.tgi", AzureBackend, endpoint=_URL, key=_KEY, style="tgi")
_known("azure.chat", AzureBackend, endpoint=_URL, key=_KEY, style="chat")
_known("azure.v1.completions", AzureBackend, endpoint=_URL, key=_KEY, style="v1")
_known("azure.v1.chat", AzureBackend, endpoint=_URL, key=_KEY, style="v1", route="chat")
_known("hf.tgi", HFBackend, endpoint=_URL)
for _server in SERVERS:
    for _route in ("completions", "chat"):
        _known(
            f"openai.{_route} ({_server})", OpenAIBackend,
            base_url=_URL, server=_server, route=_route,
        )  # fmt: skip

ALL = {dialect.name: dialect for dialect in dialects()}


def payload(name: str, sampling: Sampling, on_unsupported: Any = "raise") -> dict[str, Any]:
    """Return the request as flat keys; for backends without HTTP, the output of their dialect."""
    if name not in BACKENDS:
        stops = (*sampling.stop, *PROMPT.stop)
        return translate(sampling, ALL[name], stops=stops, on_unsupported=on_unsupported)[0]
    call = BACKENDS[name](on_unsupported=on_unsupported).call(Request(PROMPT, sampling))
    return _flat(call.body)


def _flat(body: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in body.items():
        flat |= _flat(value) if isinstance(value, dict) else {key: value}
    return flat


def documented() -> dict[str, dict[str, str]]:
    """Route -> parameter -> cell, as the page has it."""
    rows = [
        [part.strip() for part in line.strip().strip("|").split("|")]
        for line in PAGE.read_text("utf-8").partition("support table: begin")[2].splitlines()
        if line.startswith("|")
    ]
    names = [name.strip("`") for name in rows[0][1:]]
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows[2:]}


def test_the_page_shows_every_route_and_every_parameter() -> None:
    table = documented()
    assert set(table) == set(ALL)
    assert all(set(row) == set(PARAMETERS) for row in table.values())
    assert len(ALL) == len(dialects()), "two dialects have one name"


def test_every_route_over_http_is_one_of_the_table() -> None:
    assert set(BACKENDS) == {n for n in ALL if n.split(".")[0] in ("azure", "hf", "openai")}
    for name, make in BACKENDS.items():
        assert make().dialect.name == name


def test_the_page_is_up_to_date(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8")
    assert write_table(text) == text, "run python tools/support.py docs/client/sampling.md"
    main([])
    assert capsys.readouterr().out == support_table()
    copy = tmp_path / "page.md"
    copy.write_text(text.replace("| sent |", "| - |"), "utf-8")
    main([str(copy)])
    assert copy.read_text("utf-8") == text
    with pytest.raises(ValueError, match="support table"):
        write_table("no marks")


@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize("name", sorted(ALL))
def test_documented_as_supported_exactly_when_the_payload_changes(
    name: str, parameter: str
) -> None:
    says = documented()[name][parameter]
    base = Sampling(max_tokens=16, temperature=0.7)
    other = Sampling(**{"max_tokens": 16, "temperature": 0.7, parameter: OTHER[parameter]})
    before = payload(name, base)
    warned = says == "-" and name in BACKENDS
    with pytest.warns(UserWarning, match=parameter) if warned else nullcontext():
        after = payload(name, other, on_unsupported="warn")
    assert (before != after) == (says not in ("-", "emulated"))
    if says == "-":
        with pytest.raises(UnsupportedParameter, match=parameter):
            payload(name, other)
        return
    assert payload(name, other) == after
    if says == "emulated":
        assert parameter == "stop"
        return
    renamed = re.fullmatch(r"renamed to `(\w+)`", says)
    key = renamed.group(1) if renamed else parameter
    assert says == "sent" or renamed is not None
    expected = OTHER[parameter]
    assert after[key] == (list(expected) if parameter == "stop" else expected)


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_neutral_value_is_never_unsupported(name: str) -> None:
    neutral = Sampling(temperature=1.0, top_p=1.0, top_k=None, min_p=0, repetition_penalty=1.0)
    assert payload(name, neutral)
    assert payload(name, Sampling(temperature=0.0))


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_parameter_is_accounted_for(name: str) -> None:
    wire, fates = translate(Sampling(**OTHER), ALL[name], stops=("END",), on_unsupported="warn")
    assert [fate.name for fate in fates] == list(PARAMETERS)
    assert wire == {key: value for fate in fates for key, value in fate.wire.items()}
    for fate in fates:
        says = cell(fate.name, ALL[name].rules[fate.name]) if fate.wire else fate.fate
        assert says.partition(" ")[0] == fate.fate


_STOCHASTIC = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")


@pytest.mark.parametrize(
    "name",
    [
        *(n for n in sorted(BACKENDS) if n.startswith(("azure", "hf"))),
        "openai.completions (vllm)",
        "openai.chat (vllm)",
    ],
)
async def test_the_server_understands_what_was_meant(providers: Emulator, name: str) -> None:
    dialect: Dialect = ALL[name]
    where = {"azure": providers.azure, "hf": providers.hf, "openai": providers.openai}
    server = where[name.split(".")[0]]
    if "older" in name:
        providers.azure.style = ScoreStyle(engine="older")
    given = {p: OTHER[p] for p in _STOCHASTIC if p in dialect.rules}
    settings: dict[str, Any] = {"endpoint": server.url, "key": KEY}
    if name.startswith("hf"):
        settings = {"endpoint": server.url, "token": KEY}
    elif name.startswith("openai"):
        settings = {"base_url": server.url + "/v1", "api_key": KEY}
    backend = BACKENDS[name](**settings)
    for sampling in (Sampling(**given), Sampling(max_tokens=64), Sampling(temperature=1.0)):
        answer = await ask(backend, Request(PROMPT, sampling))
        assert ANSWER.startswith(answer.text)
        decoding = server.calls[-1].decoding
        for parameter in given if sampling.temperature else ("max_tokens", "temperature"):
            understood = getattr(decoding, parameter)
            assert understood == getattr(sampling, parameter), parameter
    await backend.close()
