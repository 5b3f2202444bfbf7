"""A setting of the wrong kind is named before it can do harm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from phi2sdk import backends
from phi2sdk.backends.settings import refuse_wrong_kinds
from phi2sdk.config import Target
from phi2sdk.errors import ConfigurationError
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
