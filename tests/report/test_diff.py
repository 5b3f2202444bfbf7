from __future__ import annotations

import io
import random
from dataclasses import replace
from typing import Any

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
    shown = on_screen(found)
    assert "Different setting: seed: 0 -> 7" in shown
    assert "Only run A has these targets: gone." in shown
    assert "Only run B has these targets: new." in shown
    assert max(map(len, shown.splitlines())) <= 80


def on_screen(found: Diff, width: int = 80) -> str:
    out = io.StringIO()
    show(found, Console(file=out, width=width))
    return out.getvalue()


def test_an_invalid_run_is_named_before_anything_else() -> None:
    late = [answer(f"p{i}", scheduled_ms=0, send_ms=500, chunks_ms=(510, 550)) for i in range(20)]
    found = compared(records(), late)
    assert (found.a.valid, found.b.valid) == (True, False)
    first = " ".join(on_screen(found, 200).splitlines()[0].split())
    assert first.startswith("Run B is not valid, so do not trust its latencies. ")
    assert found.b.sentence in first
    assert on_screen(compared(records(), records())).startswith("Both runs are valid.\n")


def test_an_open_row_says_how_many_prompts_would_decide_it() -> None:
    chance = random.Random(1)
    noisy = [
        answer(f"p{i}", chunks_ms=(10, 50 * chance.uniform(0.5, 2.2)), text="same")
        for i in range(20)
    ]
    found = compared(records(), noisy)
    open_row = change(found, "e2e")
    assert open_row.verdict == "not shown"
    assert open_row.prompts_needed is not None
    assert open_row.prompts_needed > 20
    assert f"E2E {open_row.prompts_needed:,}" in on_screen(found)
    assert change(compared(records(), records(1.5)), "e2e").prompts_needed is None


def per_request(usd: float) -> dict[str, Any]:
    price = {"model": "per-request", "usd": usd, "source": "invoice", "date": "2026-11-01"}
    return {"t": {"parts": [price]}}


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(0.01, 0.02, "more expensive"), (0.02, 0.01, "cheaper"), (0.01, 0.01, "equivalent")],
)
def test_the_cost_of_both_runs_is_compared(before: float, after: float, verdict: str) -> None:
    a, b = (run_of(records(), prices=per_request(usd)) for usd in (before, after))
    found = diff_runs(a, b, estimating_tokenizer())
    cost = found.targets["t"].cost
    assert [cost.a, cost.b] == pytest.approx([before, after])
    assert cost.ratio is not None
    assert cost.ratio.value == pytest.approx(after / before)
    assert cost.verdict == verdict
    changed = verdict != "equivalent"
    assert (f"t is {verdict}" in on_screen(found)) == changed


def test_a_cost_that_one_run_does_not_know_is_unknown() -> None:
    found = diff_runs(
        run_of(records(), prices=per_request(0.01)), run_of(records()), estimating_tokenizer()
    )
    assert found.targets["t"].cost.verdict == "unknown"


def test_a_verdict_on_the_identity_that_changed_is_in_the_first_lines() -> None:
    found = compared(records(), records())
    target = found.targets["t"].model_copy(
        update={"identity_a": "consistent", "identity_b": "different"}
    )
    shown = on_screen(found.model_copy(update={"targets": {"t": target}}), 200)
    assert "the identity verdict of t is different, and was consistent" in shown.splitlines()[1]
    assert "consistent -> different" in shown


def test_eight_targets_fit_one_screen() -> None:
    names = [f"target_{i}" for i in range(8)]
    before = [r for name in names for r in records(target=name)]
    after = [r for name in names for r in records(1.5, target=name)]
    shown = on_screen(compared(before, after)).splitlines()
    assert len(shown) <= 40
    assert max(map(len, shown)) <= 80


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
    assert out.getvalue().count("click") == 7, "shown, and not obeyed"
