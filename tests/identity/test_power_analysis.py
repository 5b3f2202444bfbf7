"""Planning on made-up calls, whose evidence is known exactly."""

from __future__ import annotations

import numpy as np
import pytest

from phi2sdk.identity.call_table import BETAS, CallTable
from phi2sdk.identity.power_analysis import Part, calls_needed, power_at
from phi2sdk.identity.verdict import run_tests

TOKENS = 20


def made(n: int, kl: float, seed: int, *, author: bool, drift: float = 0.0) -> CallTable:
    """Calls whose log-ratio of one candidate is normal: mean +kl or -kl a call, variance 2 kl."""
    rng = np.random.default_rng(seed)
    ratio = rng.normal(kl if author else -kl, np.sqrt(2 * kl), n)
    moved = rng.normal(drift, 4.0, n)
    tokens = np.full(n, TOKENS, dtype=np.int64)
    base = rng.normal(-30, 3, n)
    loglik = base[:, None] - 0.5 * 16.0 * (np.log(BETAS)[None, :]) ** 2
    return CallTable(
        prompt=np.arange(n) % 4,
        tokens=tokens,
        entropy=np.full(n, 30.0),
        logp={"float32": base},
        drift={"float32": moved},
        variance={"float32": np.full(n, 16.0)},
        loglik=loglik,
        candidates={"int4": base + ratio},
    )


def parts(kl: float, n: int = 400, drift: float = 0.0) -> tuple[list[Part], dict[str, Part]]:
    return (
        [Part(made(n, kl, 1, author=True, drift=drift))],
        {"float32": Part(made(n, kl, 2, author=False))},
    )


def test_the_planned_calls_have_the_planned_power() -> None:
    authors, control = parts(0.25)
    need = calls_needed(authors, control, instruments=3)
    assert need.calls is not None
    rng = np.random.default_rng(0)
    hits = 0
    for run in range(100):
        mine = authors[0].calls.take(rng.choice(400, need.calls, replace=False))
        own = control["float32"].calls.take(rng.choice(400, need.calls, replace=False))
        tests = run_tests(mine, {"float32": own}, permutations=399, seed=run)
        assert tests is not None
        hits += tests.p <= 0.05
    assert hits >= 88


def test_half_the_evidence_takes_about_twice_the_calls() -> None:
    strong, weak = calls_needed(*parts(0.4)), calls_needed(*parts(0.2))
    assert strong.calls is not None
    assert weak.calls is not None
    assert 1.6 < weak.calls / strong.calls < 2.5
    assert strong.tokens == pytest.approx(TOKENS)
    assert strong.entropy == pytest.approx(1.5)


def test_more_power_and_more_targets_take_more_calls() -> None:
    authors, control = parts(0.3)
    few = calls_needed(authors, control, power=0.5).calls
    more = calls_needed(authors, control).calls
    most = calls_needed(authors, control, targets=6).calls
    assert few is not None
    assert more is not None
    assert most is not None
    assert few < more < most


def test_a_routed_share_takes_more_calls_than_the_whole() -> None:
    (author,), control = parts(1.0)
    mixed = [Part(author.calls, 0.2), Part(control["float32"].calls, 0.8)]
    whole, part = calls_needed([author], control), calls_needed(mixed, control)
    assert whole.calls is not None
    assert part.calls is not None
    assert part.calls > 2 * whole.calls


def test_nothing_to_find_is_found_as_often_as_chance_allows() -> None:
    """Both sides are honest and their means known: what is left are false alarms."""

    def known(calls: CallTable) -> Part:
        noise = calls.candidates["int4"] - calls.logp["float32"] + 0.2
        return Part(calls, 1.0, np.column_stack([noise, calls.drift["float32"]]))

    target = known(made(400, 0.2, 3, author=False))
    control = {"float32": known(made(400, 0.2, 4, author=False))}
    assert power_at([target], control, 200)["all"] <= 0.06


def test_exact_divergences_make_a_small_pilot_precise() -> None:
    """The same calls with their noise known: the planned numbers scatter far less."""
    truth = calls_needed(*parts(0.25, 2000)).calls
    assert truth is not None
    plain, exact = [], []
    for seed in range(4):
        author = made(128, 0.25, 50 + seed, author=True)
        own = made(128, 0.25, 80 + seed, author=False)
        noise = author.candidates["int4"] - author.logp["float32"] - 0.25
        back = own.candidates["int4"] - own.logp["float32"] + 0.25
        plain.append(calls_needed([Part(author)], {"float32": Part(own)}).calls)
        exact.append(
            calls_needed(
                [Part(author, 1.0, noise[:, None])], {"float32": Part(own, 1.0, back[:, None])}
            ).calls
        )
    errors = [np.abs(np.log(np.array(found, dtype=float) / truth)) for found in (plain, exact)]
    assert np.median(errors[1]) < np.median(errors[0])
    assert errors[1].max() < np.log(1.5)


def test_a_larger_pilot_narrows_the_range() -> None:
    small, large = calls_needed(*parts(0.25, 64)), calls_needed(*parts(0.25, 800))
    assert small.low is not None
    assert large.low is not None
    assert large.high is not None
    assert large.calls is not None
    assert large.low <= large.calls <= large.high
    assert small.high is None or small.high / small.low > large.high / large.low
