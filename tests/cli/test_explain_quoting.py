"""Whatever a file of configuration holds, the command of ``phi2 explain --curl`` only calls."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

import pytest

from phi2sdk import backends, prompts
from phi2sdk.completion import Request
from phi2sdk.config import load_config, trust
from phi2sdk.errors import ConfigurationError
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret
from phi2sdk.transport.preview import RequestPreview, command
from tests.commands import phi2

TOUCH = "touch PWNED"
HOSTILE = (
    f"x; {TOUCH}; true",
    f"$({TOUCH})",
    f"`{TOUCH}`",
    f"'; {TOUCH}; '",
    f'"; {TOUCH}; "',
    f"); {TOUCH}; (",
    f"\\'; {TOUCH}; \\",
    f"x\n{TOUCH}\n",
    f"x\t\u202e{TOUCH}",
    "--config=PWNED",
    "@PWNED",
)

BASES: Mapping[str, tuple[str, dict[str, str]]] = {
    "azure with a key": ("azure", {"endpoint": "https://a.example"}),
    "azure with a credential": (
        "azure",
        {"endpoint": "https://a.example", "credential": "default"},
    ),
    "azure chat": ("azure", {"endpoint": "https://a.example", "style": "chat"}),
    "azure v1": ("azure", {"endpoint": "https://a.example", "style": "v1"}),
    "hf": ("hf", {"endpoint": "https://h.example"}),
    "hf chat": ("hf", {"endpoint": "https://h.example", "route": "chat"}),
    "openai": ("openai", {"base_url": "https://o.example/v1"}),
    "clarifai": ("clarifai", {}),
}

TAKEN: Mapping[str, set[str]] = {
    "azure with a key": {"endpoint", "deployment", "model", "scope", "api_version"},
    "azure with a credential": {"endpoint", "deployment", "model", "scope", "api_version"},
    "azure chat": {"endpoint", "deployment", "model", "scope", "api_version"},
    "azure v1": {"endpoint", "deployment", "model", "scope", "api_version"},
    "hf": {"endpoint", "model", "namespace"},
    "hf chat": {"endpoint", "model", "namespace"},
    "openai": {"base_url", "model"},
    "clarifai": {"base"},
}
"""Settings that take at least one of the hostile values; the others refuse all of them."""


def fields(backend: str) -> list[str]:
    """The settings of a backend that a file may give as a string."""
    hints = get_type_hints(backends.find(backend).__init__)
    names = [
        name
        for name, hint in hints.items()
        if name not in ("target", "on_unsupported", "credential", "return")
        and (hint is str or str in get_args(hint) or _literal(hint))
    ]
    assert len(names) > 3
    return names


def _literal(hint: Any) -> bool:
    return any(isinstance(one, str) for one in get_args(hint))


@pytest.fixture(autouse=True)
def _confirmations_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """Commands that note their words, in front of the real ones."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    for name in ("curl", "grpcurl", "az", "python"):
        stub = folder / name
        stub.write_text(
            f'#!/bin/sh\nprintf "%s\\0" {name} "$@" "" >> "$WORDS"\n'
            + ("echo the-token\n" if name == "az" else "")
        )
        stub.chmod(0o755)
    return folder


def run(script: str, stubs: Path, **environment: str) -> list[list[str]]:
    """Run a script in a shell; the words of each command that it called."""
    home, noted = stubs.parent, stubs.parent / "words"
    noted.write_bytes(b"")
    paths = f"{stubs}:/usr/bin:/bin"
    subprocess.run(
        ["bash", "-c", script],
        cwd=home,
        env={"PATH": paths, "WORDS": str(noted), **environment},
        check=True,
        capture_output=True,
        timeout=30,
    )
    assert not (home / "PWNED").exists(), script
    called = noted.read_bytes().decode().split("\0\0")[:-1]
    return [one.split("\0") for one in called]


def expected_words(call: RequestPreview) -> set[str]:
    """Return the words that cURL or grpcurl must receive."""
    parts = urlsplit(call.url)
    to = {call.url} if call.protocol == "http" else {parts.netloc, parts.path[1:]}
    headers = {f"{name}: {_sent(value)}" for name, value in call.headers.items()}
    return to | headers | {call.body.decode()}


def _sent(value: str | Secret) -> str:
    if not isinstance(value, Secret):
        return value
    return "Bearer the-token" if value.reveal() == "Bearer" else value.reveal()


@pytest.mark.parametrize("base", BASES)
def test_no_setting_of_a_target_runs_anything_in_the_shell(
    base: str, stubs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, settings = BASES[base]
    cls = backends.find(backend)
    variable = cls.environment["api_key"]
    monkeypatch.setenv(variable, "the-token")
    taken = set()
    for field in (*fields(backend), "api_key"):
        for hostile in HOSTILE:
            values = [hostile]
            if field in ("endpoint", "base_url", "base"):
                values += [f"https://x.example/{hostile}", f"https://{hostile}", f"-{hostile}"]
            for value in values:
                call, said = _explained(tmp_path, backend, {**settings, field: value}, variable)
                if call is None:
                    continue
                taken.add(field)
                called = run(said, stubs, **{variable: "the-token", "PHI2_KEY": "the-token"})
                assert called[-1][0] in ("curl", "grpcurl")
                assert expected_words(call) <= set(called[-1])
                if call.hint:
                    assert called[0] == list(call.hint)
                    assert len(called) == 2
    assert taken == TAKEN[base]


def _explained(
    folder: Path, backend: str, settings: Mapping[str, str], variable: str
) -> tuple[RequestPreview | None, str]:
    """The call and its command, of a file with these settings; ``None`` where it is refused."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    path = folder / "phi2.toml"
    path.write_text("\n".join(["[targets.t]", f'backend = "{backend}"', *lines]))
    try:
        target = load_config(path)["t"]
        trust.confirm(trust.sendings(target, os.environ))
        made = target.open()
        call = made.outgoing(Request(prompts.instruct("Hi"), Sampling(max_tokens=4)))
    except ConfigurationError:
        return None, ""
    assert call is not None
    return call, command(call, {variable: "the-token"})


def test_a_scope_with_a_command_in_it_is_a_word_of_az(stubs: Path, tmp_path: Path) -> None:
    """The whole command, as somebody pastes it."""
    scope = f"x; {TOUCH}; true"
    (tmp_path / "phi2.toml").write_text(
        '[targets.mine]\nbackend = "azure"\nendpoint = "https://a.example"\n'
        f'credential = "default"\nscope = "{scope}"\n'
    )
    assert phi2("trust", "phi2.toml", "--yes", cwd=tmp_path)[0] == 0
    status, out, err = phi2("explain", "Hi", "-t", "mine", "--curl", cwd=tmp_path)
    assert status == 0, err
    az, curl = run(out, stubs)
    assert az[0] == "az"
    assert f"--scope={scope}" in az
    assert "Authorization: Bearer the-token" in curl


@pytest.mark.parametrize("name", [f"A$({TOUCH})", f"`{TOUCH}`", f'A"; {TOUCH}; "', "A B", "1A"])
def test_a_variable_that_no_shell_can_have_is_not_named(name: str, stubs: Path) -> None:
    call = RequestPreview("http", "https://a.example", {"api-key": Secret("the-key")}, b"{}")
    called = run(command(call, {name: "the-key"}), stubs, PHI2_KEY="another")
    assert "api-key: another" in called[-1]
