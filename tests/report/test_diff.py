from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from phi2sdk.cli.diff import show
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.diff import Change, Diff, diff_runs
from tests.measure.making import answer
from tests.reliability.hostile import HOSTILE, steers
from tests.report.making import run_of


def records(scale: float = 1.0, *, target: str = "t", text: str = "same") -> list[Record]:
    return [
        answer(f"p{i}", target=target, chunks_ms=(10 * scale, (50 + i) * scale), text=text)
        for i in range(20)
    ]


def compared(before: list[Record], after: list[Record]) -> Diff:
    return diff_runs(run_of(before), run_of(after), estimating_tokenizer())


def change(found: Diff, metric: str) -> Change:
    return next(c for c in found.targets["t"].changes if c.metric == metric)


def test_a_run_is_like_itself() -> None:
    found = compared(records(), records())
    assert found.configuration == ()
    assert change(found, "e2e").ratio == 1.0
    assert change(found, "e2e").verdict == "equivalent"
    assert not any(c.significant for c in found.targets["t"].changes)


def test_what_became_slower_is_significant_and_by_how_much() -> None:
    found = change(compared(records(), records(1.5)), "e2e")
    assert found.ratio == pytest.approx(1.5)
    assert (found.verdict, found.significant) == ("slower", True)
    assert found.b is not None
    assert found.a is not None
    assert found.b > found.a


def test_answers_that_changed_are_counted() -> None:
    found = compared(records(), records(text="other")).targets["t"].agreement
    assert found.exact_cut is not None
    assert found.exact_cut.value == 0


def test_prompts_are_matched_by_their_text_whatever_they_are_called() -> None:
    renamed = run_of(records())
    other = [replace(r, key=r.key._replace(prompt=f"x{r.key.prompt}")) for r in records(2.0)]
    second = run_of(other)
    texts = renamed.configuration["prompts"]
    second.info["configuration"]["prompts"] = {f"x{id}": text for id, text in texts.items()}
    found = diff_runs(renamed, second, estimating_tokenizer())
    assert change(found, "e2e").prompts == 20
    assert change(found, "e2e").ratio == pytest.approx(2.0)


def test_runs_with_nothing_in_common_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no target"):
        compared(records(), records(target="u"))
    alien = run_of(records())
    alien.info["configuration"]["prompts"] = {"p0": "something else"}
    with pytest.raises(ConfigurationError, match="no prompt"):
        diff_runs(run_of(records()), alien, estimating_tokenizer())


def test_targets_of_one_run_alone_and_other_settings_are_named() -> None:
    before = run_of([*records(), *records(target="gone")])
    after = run_of([*records(), *records(target="new")])
    after.info["configuration"]["seed"] = 7
    found = diff_runs(before, after, estimating_tokenizer())
    assert (found.only_a, found.only_b) == (("gone",), ("new",))
    assert any(line.startswith("seed: 0 -> 7") for line in found.configuration)
    out = io.StringIO()
    show(found, Console(file=out, width=80))
    assert "only in A: gone" in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_names_and_settings_of_a_received_run_steer_no_terminal() -> None:
    """Printing escapes them, independent of their origin."""
    name = "".join(HOSTILE[kind] for kind in ("ansi", "osc link", "bidi", "nul"))
    found = compared(records(), records(1.5))
    hostile = found.model_copy(
        update={
            "targets": {name: found.targets["t"]},
            "only_a": (name,),
            "only_b": (name,),
            "configuration": (f"{name}: {name} -> {name}",),
        }
    )
    out = io.StringIO()
    show(hostile, Console(file=out, width=200))
    assert steers(out.getvalue()) == []
    assert out.getvalue().count("click") == 8, "shown, and not obeyed"
