"""The settings of Clarifai: model, endpoint and key."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.backends import build
from phi2sdk.backends.clarifai import ClarifaiBackend, ModelName
from phi2sdk.backends.clarifai_transport import Endpoint
from phi2sdk.emulator import Emulator
from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import Secret
from tests.backends.clarifai_server import (
    ANSWER,
    PAT,
    URL,
    answer,
    backend_of,
    emulator,
    request,
)


@pytest.fixture
async def provider() -> AsyncIterator[Emulator]:
    async with emulator() as running:
        yield running


@pytest.fixture
async def backend(provider: Emulator) -> AsyncIterator[ClarifaiBackend]:
    async with backend_of(provider.clarifai.url) as ready:
        yield ready


@pytest.mark.parametrize("name", ["Phi-2", "phi-2", "phi2", " PHI2 "])
def test_an_alias_is_the_published_model(name: str) -> None:
    assert ModelName.parse(name) == ModelName() == ModelName.parse(URL)


@pytest.mark.parametrize(
    ("name", "version", "model"),
    [
        (URL + "/", None, ModelName()),
        (f"{URL}?tab=api#top", None, ModelName()),
        ("clarifai.com/microsoft/text-generation/models/phi-2", None, ModelName()),
        (f"{URL}/versions/abc123", None, ModelName(version="abc123")),
        (f"{URL}/versions/abc123", "abc123", ModelName(version="abc123")),
        ("phi-2", "abc123", ModelName(version="abc123")),
        ("phi-2", "", ModelName()),
        ("me/app/llama-3_1-8b", None, ModelName("me", "app", "llama-3_1-8b")),
        ("me/app/models/m", "v", ModelName("me", "app", "m", "v")),
    ],
)
def test_a_model_is_named_by_url_or_path(name: str, version: str | None, model: ModelName) -> None:
    assert ModelName.parse(name, version) == model


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("", None),
        ("phi-3", None),
        ("microsoft/phi-2", None),
        ("https://example.com/microsoft/text-generation/models/phi-2", None),
        ("https://clarifai.com.example.com/a/b/models/c", None),
        ("ftp://clarifai.com/a/b/models/c", None),
        (f"{URL}/versions/one", "two"),
        ("a//b", None),
        ("phi-2", "no version"),
        ("http://[", None),
    ],
)
def test_an_invalid_model_name_is_refused(name: str, version: str | None) -> None:
    with pytest.raises(ConfigurationError):
        ModelName.parse(name, version)


_names = st.one_of(
    st.text(max_size=60),
    st.text("abc/:.-_ [@#?\n", max_size=40),
    st.from_regex(r"(https?://)?clarifai\.com/[a-z/]{0,30}", fullmatch=True),
)


@given(name=_names)
def test_any_string_is_a_model_or_a_configuration_error(name: str) -> None:
    try:
        model = ModelName.parse(name)
    except ConfigurationError as error:
        shown = str(error)
    else:
        shown = str(model)
        assert ModelName.parse(f"https://clarifai.com/{shown}") == model
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("base", "address", "secure"),
    [
        ("https://api.clarifai.com", "api.clarifai.com:443", True),
        ("https://api.clarifai.com/", "api.clarifai.com:443", True),
        ("api.clarifai.com", "api.clarifai.com:443", True),
        ("", "api.clarifai.com:443", True),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080", False),
        ("127.0.0.1:8080", "127.0.0.1:8080", False),
        ("localhost:8080", "localhost:8080", False),
        ("[::1]:8080", "[::1]:8080", False),
        ("http://inside:9000", "inside:9000", False),
        ("inside:9000", "inside:9000", True),
    ],
)
def test_an_endpoint_is_plain_only_on_loopback(base: str, address: str, secure: bool) -> None:
    endpoint = Endpoint.parse(base, insecure_hosts=("inside",))
    assert (endpoint.address, endpoint.secure) == (address, secure)


@pytest.mark.parametrize(
    "base",
    [
        "http://api.clarifai.com",
        "https://api.clarifai.com/v2",
        "https://user:word@api.clarifai.com",
        "https://api.clarifai.com:port",
        "ftp://api.clarifai.com",
        "https://",
        "http://[",
        "https://a b",
    ],
)
def test_an_invalid_endpoint_is_refused(base: str) -> None:
    with pytest.raises(ConfigurationError):
        ClarifaiBackend(pat=Secret(PAT), base=base)


@given(base=st.one_of(st.text(max_size=40), st.text("ht:/.[]@1a?# ", max_size=20)))
def test_any_string_is_an_endpoint_or_a_configuration_error(base: str) -> None:
    try:
        endpoint = Endpoint.parse(base)
    except ConfigurationError:
        return
    assert endpoint.secure or endpoint.loopback


@pytest.mark.parametrize("pat", ["", "  ", "sch\u00fcssel", "two\nlines", "nul\x00"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(pat: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ClarifaiBackend(pat=Secret(pat))
    assert not pat.strip() or pat.strip() not in str(caught.value)


@pytest.mark.parametrize("deployment", ["", "alone", "a/b/c", "a/ b"])
def test_a_deployment_is_named_with_its_owner(deployment: str) -> None:
    with pytest.raises(ConfigurationError, match="user/deployment"):
        ClarifaiBackend(pat=Secret(PAT), deployment=deployment)


async def test_the_environment_configures_it(provider: Emulator) -> None:
    built = build("clarifai", target="hosted", settings={}, environ=provider.environment())
    assert isinstance(built, ClarifaiBackend)
    assert built.target == "hosted"
    assert (await answer(built, request())).text == ANSWER
    await built.close()
    with pytest.raises(ConfigurationError, match="CLARIFAI_PAT"):
        build("clarifai", target="hosted", settings={}, environ={})


def test_importing_it_leaves_the_vendors_channel_module_alone() -> None:
    program = (
        "import sys, phi2sdk.backends.clarifai;"
        "bad = {'clarifai_grpc.channel', 'requests', 'clarifai'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
