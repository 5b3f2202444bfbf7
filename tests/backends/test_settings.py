"""A setting of the wrong kind is named before it can do harm."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from phi2sdk import backends, prompts
from phi2sdk.backends.settings import refuse_wrong_kinds
from phi2sdk.completion import Request
from phi2sdk.config import Target
from phi2sdk.config.environment import FromEnvironment
from phi2sdk.errors import ConfigurationError
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret
from phi2sdk.transport.http import Timeouts
from tests.scripted import ScriptedBackend


@pytest.mark.parametrize(
    ("backend", "settings", "said"),
    [
        ("openai", {"model": 3}, "model of the backend openai is a string, not a whole number"),
        ("openai", {"insecure_hosts": "h"}, "insecure_hosts .* is a list of strings, not a string"),
        (
            "openai",
            {"insecure_hosts": ["h", 3]},
            "insecure_hosts .* is a list of strings, not a list",
        ),
        ("openai", {"timeouts": 3}, "timeouts .* is a table, not a whole number"),
        ("openai", {"api_key": True}, "api_key .* is a key, not true or false"),
        ("openai", {"route": 1.5}, "route .* is a string, not a number"),
        ("azure", {"key": "long enough", "credential": 3}, "credential .* not a whole number"),
        ("clarifai", {"pat": "long enough", "base": {}}, "base .* is a string, not a table"),
        ("local", {"slots": "4"}, "slots .* is a whole number, not a string"),
        ("local", {"compile": 1}, "compile .* is true or false, not a whole number"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_named_with_what_it_takes(
    backend: str, settings: Mapping[str, Any], said: str
) -> None:
    where = {"openai": "base_url", "azure": "endpoint"}.get(backend)
    needed = {where: "https://h"} if where else {}
    with pytest.raises(ConfigurationError, match=f"target 'a': the setting {said}"):
        Target("a", backend, {**needed, **settings}).open(environ={})


ALIASES = {
    "azure": ("key", {"endpoint": "https://h"}),
    "hf": ("token", {"endpoint": "https://h"}),
    "clarifai": ("pat", {}),
}


@pytest.mark.parametrize("backend", ["azure", "clarifai", "hf", "openai"])
def test_the_secret_of_every_backend_that_sends_one_is_named_api_key(backend: str) -> None:
    cls = backends.find(backend)
    secret = {name for name in inspect.signature(cls).parameters if backends.is_secret(cls, name)}
    assert secret - cls.aliases.keys() == {"api_key"}
    assert "api_key" in cls.environment
    assert set(cls.aliases.values()) <= {"api_key"}


@pytest.mark.parametrize("backend", ALIASES)
def test_an_alias_of_the_secret_sends_the_same_request_as_api_key(backend: str) -> None:
    alias, needed = ALIASES[backend]
    request = Request(prompts.instruct("x"), Sampling())
    sent = []
    for name in ("api_key", alias):
        environ = {"A": "long enough"}
        from_file = FromEnvironment("A", "phi2.toml", secret=True)
        for secret in ("long enough", Secret("long enough"), from_file):
            opened = Target("a", backend, {**needed, name: secret}).open(environ=environ)
            assert "long enough" not in repr(vars(opened))
            call = opened.outgoing(request)
            assert call is not None
            sent.append(
                {
                    header: value.reveal() if isinstance(value, Secret) else value
                    for header, value in call.headers.items()
                }
            )
    assert any("long enough" in value for value in sent[0].values())
    assert all(headers == sent[0] for headers in sent)


@pytest.mark.parametrize("backend", ALIASES)
def test_a_secret_under_two_names_is_refused_without_being_shown(backend: str) -> None:
    alias, needed = ALIASES[backend]
    twice = {**needed, "api_key": "canary-one", alias: "canary-two"}
    said = f"api_key and {alias} are two names of the same setting of the backend {backend}"
    with pytest.raises(ConfigurationError, match=said) as caught:
        Target("a", backend, twice).open(environ={})
    assert "canary" not in str(caught.value)
    constructor: Any = backends.find(backend)
    with pytest.raises(ConfigurationError, match=said):
        constructor(**{n: Secret(v) if "canary" in v else v for n, v in twice.items()})


@pytest.mark.parametrize("backend", ALIASES)
def test_the_programs_secret_takes_the_place_of_the_files_under_either_name(backend: str) -> None:
    alias, needed = ALIASES[backend]
    for ours, theirs in (("api_key", alias), (alias, "api_key")):
        target = Target("a", backend, {**needed, theirs: "canary-of-the-file"})
        opened = target.open(environ={}, program={ours: "given by the program"})
        call = opened.outgoing(Request(prompts.instruct("x"), Sampling()))
        assert call is not None
        sent = [v.reveal() for v in call.headers.values() if isinstance(v, Secret)]
        assert sent
        assert all("given by the program" in value for value in sent)


def test_what_a_backend_takes_is_let_through() -> None:
    made = backends.build(
        "openai",
        target="a",
        settings={
            "base_url": "http://h",
            "api_key": Secret("k"),
            "timeouts": Timeouts(),
            "insecure_hosts": ["h"],
            "route": "chat",
        },
        environ={},
    )
    assert made.target == "a"
    assert Target("a", "local", {"model": Path("x")}).open(environ={}).target == "a"


def test_annotations_that_only_a_type_checker_can_read_are_left_alone() -> None:
    class Odd(ScriptedBackend):
        def __init__(self, *, thing: "NotThere", more: Any = None) -> None:  # type: ignore[name-defined]  # noqa: F821, UP037
            super().__init__()

    refuse_wrong_kinds(Odd, {"thing": 3, "more": "x"}, target="a", backend="odd")
