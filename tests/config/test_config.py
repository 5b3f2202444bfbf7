"""Targets out of a file and the environment."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phi2sdk import Phi2Client, backends
from phi2sdk.backends.base import Backend
from phi2sdk.backends.http import HTTPBackend
from phi2sdk.config import Target, load_config, resolve, trust
from phi2sdk.emulator import Fault
from phi2sdk.errors import ConfigurationError, Overloaded
from phi2sdk.secret import Secret
from phi2sdk.testing import Phi2Emulator

GOOD = """
[targets.azure_eastus]
backend = "openai"
base_url = "https://example.com/v1"
api_key = { env = "MY_KEY" }
attempts = 2
timeout = 30
timeouts = { connect = 1.5 }
price = { model = "hourly", usd = 3.673, source = "a list", date = "2026-11-01" }
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "phi2.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_target_is_read_with_its_key_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    targets = load_config(write(tmp_path, GOOD))
    target = targets["azure_eastus"]
    assert (target.backend, target.attempts, target.timeout) == ("openai", 2, 30)
    assert target.price is not None
    key = target.settings["api_key"].resolve({"MY_KEY": "sk-canary"})
    assert isinstance(key, Secret)
    assert key.reveal() == "sk-canary"
    trust.confirm(trust.sendings(target, {}))
    backend = target.open(environ={"MY_KEY": "sk-canary"})
    assert backend.target == "azure_eastus"
    assert "canary" not in repr(target) + repr(backend)


def test_a_key_that_is_not_set_disables_only_its_target(tmp_path: Path) -> None:
    other = '[targets.other]\nbackend = "openai"\nbase_url = "https://example.org"\n'
    targets = load_config(write(tmp_path, GOOD + other))
    assert targets["other"].open(environ={}).target == "other"
    with pytest.raises(ConfigurationError, match=r"azure_eastus\.api_key: .* MY_KEY is not set"):
        targets["azure_eastus"].open(environ={})


def test_openais_key_from_the_environment_goes_to_no_other_host() -> None:
    """The key belongs to the address that is set with it in the environment."""
    environ = {"OPENAI_API_KEY": "sk-canary", "OPENAI_BASE_URL": "https://api.example.com/v1"}
    both = backends.build("openai", target="a", settings={}, environ=environ)
    assert _authorization(both) == "Bearer sk-canary"
    elsewhere = {"base_url": "https://elsewhere.example.com/v1"}
    assert (
        _authorization(backends.build("openai", target="a", settings=elsewhere, environ=environ))
        is None
    )


def _authorization(backend: Backend) -> str | None:
    assert isinstance(backend, HTTPBackend)
    assert backend._wire is not None
    header = backend._wire._headers.get("Authorization")
    return header.reveal() if isinstance(header, Secret) else header


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[targets.a]\nbackend = "openai"\napi_key = "sk-canary"',
            "contains a secret in plain text",
        ),
        ('[targets.a]\nbackend = "openai"\ntoken = "sk-canary"', "contains a secret in plain text"),
        ("[targets.a]\n", "names no backend"),
        ('[targets.A-1]\nbackend = "openai"', "cannot be a target's name"),
        ("[target.a]\n", "target"),
        ("this is no toml", "phi2.toml"),
        (b"\xff\xfe\x00", "not UTF-8"),
        ('[targets.a]\nbackend = "openai"\ntimeout = -1', "timeout"),
        ('[targets.a]\nbackend = "openai"\nprice = { model = "barter" }', "price"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(
    tmp_path: Path, text: str | bytes, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        load_config(write(tmp_path, text))
    assert "canary" not in str(caught.value)


SECRETS = [
    (name, setting)
    for name in ("azure", "clarifai", "hf", "openai")
    for setting in ("api_key", *backends.find(name).aliases)
]


@pytest.mark.parametrize(("backend", "setting"), SECRETS, ids="-".join)
def test_a_secret_under_any_of_its_names_stays_out_of_the_file_and_out_of_sight(
    backend: str, setting: str, tmp_path: Path
) -> None:
    table = f'[targets.a]\nbackend = "{backend}"\n'
    with pytest.raises(ConfigurationError, match="contains a secret in plain text") as caught:
        load_config(write(tmp_path, f'{table}{setting} = "sk-canary"'))
    assert "canary" not in str(caught.value)
    assert f'{setting} = {{ env = "NAME" }}' in str(caught.value)
    target = load_config(write(tmp_path, f'{table}{setting} = {{ env = "MINE" }}'))["a"]
    found = target.settings[setting].resolve({"MINE": "sk-canary"})
    assert isinstance(found, Secret)
    assert "canary" not in repr(target) + repr(found)


@pytest.mark.parametrize(("backend", "setting"), SECRETS, ids="-".join)
def test_a_secret_under_any_of_its_names_needs_the_same_confirmation(
    backend: str, setting: str, tmp_path: Path
) -> None:
    address = backends.find(backend).address
    table = f'[targets.a]\nbackend = "{backend}"\n{address} = "https://example.com"\n'
    needed = []
    for name in ("api_key", setting):
        target = load_config(write(tmp_path, f'{table}{name} = {{ env = "MINE" }}'))["a"]
        needed.append(trust.sendings(target, {"MINE": "sk-canary"}))
    assert [one.variable for one in needed[0]] == ["MINE"]
    assert needed[0] == needed[1]


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_config(tmp_path / "none.toml")


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_targets_or_a_configuration_error(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path, data)
    with suppress(ConfigurationError):
        assert isinstance(load_config(path), dict)


def test_a_target_of_the_working_directory_comes_before_a_backend_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("openai") == Target("openai", "openai")
    write(tmp_path, '[targets.openai]\nbackend = "openai"\nbase_url = "https://example.com"')
    assert resolve("openai").settings == {"base_url": "https://example.com"}


def test_wrong_timeouts_are_named(tmp_path: Path) -> None:
    text = '[targets.a]\nbackend="openai"\nbase_url="https://x.org"\ntimeouts={soon=1}'
    target = load_config(write(tmp_path, text))["a"]
    with pytest.raises(ConfigurationError, match="connect, idle and attempt"):
        target.open(environ={})


def test_a_missing_dependency_becomes_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "clarifai_grpc", None)
    monkeypatch.setitem(sys.modules, "grpc", None)
    for module in [name for name in sys.modules if name.startswith("phi2sdk.backends.clarifai")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ConfigurationError, match=r"pip install 'phi2sdk\[clarifai\]'"):
        backends.find("clarifai")


def test_plain_http_to_another_host_is_refused_unless_it_is_named() -> None:
    settings = {"base_url": "http://phi.example.com/v1"}
    with pytest.raises(ConfigurationError, match="plain http"):
        backends.build("openai", target="a", settings=settings, environ={})
    settings["insecure_hosts"] = ("phi.example.com",)  # type: ignore[assignment]
    assert backends.build("openai", target="a", settings=settings, environ={}).target == "a"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[target.a]\nbackend = "local"', "there is no table target: write [targets.NAME]"),
        ("[targets.a]\ndtype = 'float32'", '[targets.a] names no backend: write backend = "local"'),
        ("[targets]\na = 3", "targets.a is not a table: write [targets.NAME]"),
        ("targets = 3", "targets is not a table: write [targets.NAME]"),
        ('[[prices]]\nid = "a/b"', "prices.0.value is missing: write value = ..."),
        ('[targets.a]\nbackend = "local"\nattempts = 0', "targets.a.attempts: "),
    ],
)
def test_a_table_that_is_wrong_is_told_with_what_to_write(
    content: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "phi2.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    assert says in str(caught.value)
    assert "Input" not in str(caught.value) or "attempts" in says
    assert "Extra inputs" not in str(caught.value)


def test_attempts_of_the_file_hold_for_a_target_that_is_given_by_its_name(
    phi2_emulator: Phi2Emulator, tmp_path: Path
) -> None:
    path = tmp_path / "phi2.toml"
    path.write_text(
        f'[targets.once]\nbackend = "openai"\nbase_url = "{phi2_emulator.openai.url}/v1"\n'
        'api_key = { env = "OPENAI_API_KEY" }\nattempts = 1\n'
    )
    phi2_emulator.openai.faults.push(Fault("status", status=503))
    with Phi2Client("once", config=path) as phi, pytest.raises(Overloaded):
        phi.generate("Hi")
    assert len(phi2_emulator.openai.calls) == 1
