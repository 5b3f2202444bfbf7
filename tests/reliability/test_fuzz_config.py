"""Configurations, settings and price tables drawn at random: see ``test_fuzz.py``."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phi2sdk.config import Target, load_book, load_config
from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.pricing import Bill
from phi2sdk.pricing.book import Assumption, Device, Quote
from phi2sdk.pricing.models import Hourly, Owned, PerRequest, PerToken
from tests.reliability.hostile import hold_harmless

pytestmark = pytest.mark.fuzz

SCALAR = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(width=32)
    | st.text(max_size=12)
    | st.sampled_from(["http://127.0.0.1:1", "https://h", "[", "::", "https://[", "chat", "vllm"])
)
VALUE = st.recursive(
    SCALAR | st.just({"env": "NAME"}),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2)
    ),
    max_leaves=3,
)
LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "[targets.a]",
                "[targets.A]",
                "[targets]",
                'backend = "azure"',
                "backend = 3",
                'key = { env = "HOME" }',
                'key = "x"',
                "price = 3",
                "timeout = -1",
                "attempts = 0",
                'price = { model = "hourly" }',
                "timeouts = { idle = 'x' }",
                "[other]",
                "key = {}",
                'price = { model = "hourly", usd = nan, source = "x", date = "2026-01-01" }',
                "[[prices]]",
                "[[devices]]",
                "[[assumptions]]",
                'name = "x"',
                "date = 2026-01-01",
                'price = { book = "azure/x" }',
            ]
        ),
        st.text(max_size=30),
    ),
    max_size=8,
)


@given(lines=LINES)
@example(lines=["[targets.a]", "[targets.a.backend]"])
@example(lines=["\x00"])
@example(lines=["[targets.a]", 'backend = "azure"', "price = {}"])
def test_any_configuration_is_read_or_refused(
    lines: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"hostile-{random.getrandbits(40)}.toml"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        load_config(path)
    except ConfigurationError as error:
        hold_harmless(error, str(path))
    finally:
        path.unlink()


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


OF_PRICES = sorted(
    {
        name
        for kind in (PerToken, PerRequest, Hourly, Owned, Quote, Device, Assumption)
        for name in kind.model_fields
    }
    | {"model", "book", "device", "provider"}
)
LIKELY = VALUE | st.sampled_from(
    ["2026-01-01", "hourly", "per-token", "per-request", "owned", "H200", "T4", "USD", "EUR",
     "hour", "1M tokens", "azure/x", "hf/aws-t4", "together/phi-2", "https://h", 0.5, 3600, -1]
)  # fmt: skip
ENTRIES = st.dictionaries(st.sampled_from(OF_PRICES), LIKELY, max_size=7)
TABLES = st.fixed_dictionaries(
    {},
    optional={
        "prices": st.lists(ENTRIES, max_size=2),
        "devices": st.lists(ENTRIES, max_size=2),
        "assumptions": st.lists(ENTRIES, max_size=2),
        "targets": st.dictionaries(
            st.sampled_from(["a", "b", "A"]),
            st.fixed_dictionaries(
                {},
                optional={
                    "backend": st.sampled_from(["azure", "openai", "local", "nobody"]),
                    "price": ENTRIES | st.lists(ENTRIES, max_size=2),
                    "timeout": LIKELY,
                    "attempts": LIKELY,
                    "timeouts": LIKELY,
                    "base_url": LIKELY,
                    "key": LIKELY,
                },
            ),
            max_size=2,
        ),
    },
)


@given(tables=TABLES)
def test_any_tables_are_read_or_refused(
    tables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"hostile-{random.getrandbits(40)}.toml"
    lines = [f"{name} = {toml(value)}" for name, value in tables.items()]
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    try:
        found = load_config(path)
        load_book(path)
    except ConfigurationError as error:
        hold_harmless(error)
        return
    finally:
        path.unlink()
    for target in found.values():
        try:
            target.open(environ={})
        except Phi2Error as error:
            hold_harmless(error)
        if target.price is not None:
            bill = Bill(input=100, output=10, requests=1, seconds=1.0)
            usd = target.price.usd(bill)
            assert usd is None or usd >= 0


SETTINGS = {
    "azure": ("endpoint", "api_key", "key", "credential", "scope", "style", "engine", "form",
              "route", "model", "deployment", "api_version", "timeouts", "insecure_hosts"),
    "clarifai": ("api_key", "pat", "model", "version", "base", "deployment", "timeouts",
                 "insecure_hosts"),
    "hf": ("endpoint", "name", "namespace", "api_key", "token", "route", "server", "model",
           "wake", "timeouts", "insecure_hosts"),
    "openai": ("base_url", "api_key", "model", "route", "server", "timeouts", "insecure_hosts"),
    "local": ("model", "dtype", "device", "revision", "compile", "quantize", "slots"),
}  # fmt: skip
NEEDED = {
    "azure": {"endpoint": "https://h", "key": "k" * 8},
    "clarifai": {"pat": "k" * 8},
    "hf": {"endpoint": "https://h"},
    "openai": {"base_url": "https://h/v1"},
    "local": {"model": "demo"},
}


@st.composite
def targets(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A backend, and settings of it as a file could hold them."""
    backend = draw(st.sampled_from(list(SETTINGS)))
    drawn = draw(st.dictionaries(st.sampled_from(SETTINGS[backend]), VALUE, max_size=3))
    return backend, {**NEEDED[backend], **drawn}


@given(target=targets())
@example(target=("clarifai", {"pat": "k" * 8, "base": {}}))
@example(target=("clarifai", {"pat": "k" * 8, "deployment": []}))
@example(target=("clarifai", {"pat": [], "model": 3, "version": 4.5}))
@example(target=("azure", {"endpoint": "https://h", "key": {"x": "y"}}))
@example(target=("azure", {"endpoint": "https://h", "credential": 3}))
@example(target=("openai", {"base_url": "https://h", "insecure_hosts": "example.com"}))
def test_any_settings_make_a_backend_or_are_refused(
    target: tuple[str, dict[str, Any]],
) -> None:
    backend, settings = target
    try:
        Target("a", backend, settings).open(environ={})
    except Phi2Error as error:
        hold_harmless(error)
