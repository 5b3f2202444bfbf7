"""Files that are nested without end, or hold numbers without end, are refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phi2sdk.config import Target, load_book, load_config
from phi2sdk.emulator.serve import UsageProblem, read_script
from phi2sdk.errors import ConfigurationError, InvalidRequest, Phi2Error
from phi2sdk.measure.workload import read_input
from phi2sdk.pricing.book import read_book
from tests.commands import phi2
from tests.reliability.hostile import hold_harmless

DIGITS = "9" * 5000
TOML = {
    "deep": f"a = {'[' * 100_000}",
    "deep and closed": f"a = {'[' * 5000}{']' * 5000}",
    "deep tables": "a = " + "{a=" * 5000 + "1" + "}" * 5000,
    "digits": f"a = {DIGITS}",
    "digits in a target": f'[targets.a]\nbackend = "openai"\nslots = {DIGITS}',
    "hexadecimal": f'[targets.a]\nbackend = "openai"\ntimeout = 0x{DIGITS}',
    "a large timeout": f'[targets.a]\nbackend = "openai"\ntimeout = 1{"0" * 400}',
    "a large entry": (
        '[[prices]]\nid = "a/b"\ncurrency = "USD"\nunit = "hour"\nsource = "s"\n'
        f"date = 2026-11-01\nvalue = 1{'0' * 400}"
    ),
}


@pytest.mark.parametrize("form", TOML)
@pytest.mark.parametrize("read", [load_config, load_book], ids=["targets", "prices"])
def test_a_configuration_file_is_refused_in_one_line(
    tmp_path: Path, form: str, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "phi2.toml"
    path.write_text(TOML[form], encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        read(path)
    hold_harmless(raised.value, str(path))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_price_without_end_is_refused_with_its_target(tmp_path: Path) -> None:
    path = tmp_path / "phi2.toml"
    path.write_text(
        '[targets.a]\nbackend = "openai"\nprice = { model = "per-request", '
        f'usd = 1{"0" * 400}, source = "s", date = "2026-11-01" }}',
        encoding="utf-8",
    )
    with pytest.raises(ConfigurationError, match=r"targets\.a") as raised:
        load_config(path)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("form", TOML)
def test_a_price_book_is_refused_in_one_line(form: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_book(TOML[form])
    hold_harmless(raised.value, "the price book")
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("backend", ["azure", "clarifai", "hf", "local", "openai"])
@pytest.mark.parametrize("depth", [10, 200, 400])
def test_a_setting_that_is_nested_as_deeply_as_toml_allows_is_refused(
    tmp_path: Path, backend: str, depth: int
) -> None:
    path = tmp_path / "phi2.toml"
    deep = "[" * depth + "]" * depth
    for name in ("model", "timeouts", "endpoint", "insecure_hosts", "slots", "target"):
        path.write_text(f'[targets.a]\nbackend = "{backend}"\n{name} = {deep}\n', encoding="utf-8")
        with pytest.raises(Phi2Error) as raised:
            Target("a", backend, load_config(path)["a"].settings).open(environ={})
        hold_harmless(raised.value)


@pytest.mark.parametrize(
    "form", ["[" * 100_000, '{"a":' * 100_000, "[" * 5000 + '"a"' + "]" * 5000]
)
def test_a_script_of_the_emulators_that_is_nested_too_deeply_is_refused(
    tmp_path: Path, form: str
) -> None:
    path = tmp_path / "script.json"
    path.write_text(form, encoding="utf-8")
    with pytest.raises(UsageProblem, match="nested too deeply"):
        read_script(path)


@pytest.mark.parametrize(
    ("form", "why"),
    [("[" * 100_000, "nested too deeply"), (f'{{"text": {DIGITS}}}', "too many digits")],
    ids=["deep", "digits"],
)
def test_a_line_of_the_input_is_refused_with_its_number(
    tmp_path: Path, form: str, why: str
) -> None:
    path = tmp_path / "input.jsonl"
    path.write_text(f'{{"text": "good"}}\n{form}\n', encoding="utf-8")
    with pytest.raises(InvalidRequest, match=f"line 2: .*{why}"):
        read_input(path)


def test_the_command_says_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "phi2.toml").write_text(TOML["deep"], encoding="utf-8")
    for command in (("doctor",), ("prices",), ("explain", "Tides?", "--target", "openai")):
        status, _, said = phi2(*command, cwd=tmp_path)
        assert (status, "nested too deeply" in said) == (2, True), (command, said)
        assert "Traceback" not in said
