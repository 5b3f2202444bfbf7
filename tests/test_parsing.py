"""JSON and TOML from outside give a value, or one line with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi2sdk.config import load_config
from phi2sdk.errors import ConfigurationError
from phi2sdk.parsing import parse_json, parse_toml

DEEP = "[" * 200_000
NESTED = "[" * 150 + "]" * 150
DIGITS = "9" * 5000


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (DEEP, "nested too deeply"),
        (NESTED, "nested too deeply"),
        ('{"x":' * 150 + "0" + "}" * 150, "nested too deeply"),
        (DIGITS, "too many digits"),
        ("1e999", "too large"),
        ("NaN", "NaN"),
        ("-Infinity", "Infinity"),
        ("{", "line 1, column 2"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
    ],
)
def test_json_that_cannot_be_read_says_why_on_one_line(document: str | bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_json(document)
    assert "\n" not in str(caught.value)


def test_json_that_has_many_brackets_side_by_side_is_read() -> None:
    assert len(parse_json("[" + ",".join(["[]"] * 1000) + "]")) == 1000


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (f"seed = {DIGITS}", "too many digits"),
        (f"seed = {NESTED}", "nested too deeply"),
        (f"seed = {DEEP}", "nested too deeply"),
        ("seed = ", "Invalid value"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_one_line(
    document: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=why):
        parse_toml(document)
    (tmp_path / "phi2.toml").write_text(document)
    with pytest.raises(ConfigurationError, match=why) as caught:
        load_config(tmp_path / "phi2.toml")
    assert "\n" not in str(caught.value)
