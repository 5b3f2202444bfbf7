from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.records import Key
from phi2sdk.measure.schedule import Endless, Lane, Load, cycle, plan, sampled, seed_of, warmup

TARGETS = ["a", "b", "c"]
PROMPTS = [f"p{i}" for i in range(20)]
loads = st.sampled_from([Load(), Load("closed", 4), Load("poisson", rate=5.0)])


@given(loads, st.integers(1, 3), st.integers(0, 9), st.sets(st.integers(0, 59)))
def test_every_key_that_is_not_done_is_due_exactly_once(
    load: Load, repetitions: int, seed: int, finished: set[int]
) -> None:
    everything = [
        Key("greedy", t, p, r) for r in range(repetitions) for p in PROMPTS for t in TARGETS
    ]
    done = {everything[i] for i in finished if i < len(everything)}
    lanes = plan(load, TARGETS, PROMPTS, repetitions=repetitions, seed=seed, done=done)
    due = Counter(d.key for lane in lanes for d in lane.dues)
    assert due == Counter(k for k in everything if k not in done)


def test_targets_take_turns_prompt_by_prompt_in_changing_order() -> None:
    (lane,) = plan(Load(), TARGETS, PROMPTS)
    keys = [due.key for due in lane.dues]
    turns = [keys[i : i + 3] for i in range(0, len(keys), 3)]
    assert all(len({key.prompt for key in turn}) == 1 for turn in turns)
    assert all({key.target for key in turn} == set(TARGETS) for turn in turns)
    assert len({tuple(key.target for key in turn) for turn in turns}) > 3
    assert [turn[0].prompt for turn in turns] != PROMPTS


def test_order_and_times_depend_on_the_seed_alone() -> None:
    for load in (Load(), Load("poisson", rate=2.0)):
        first = plan(load, TARGETS, PROMPTS, seed=1)
        assert first == plan(load, TARGETS, PROMPTS, seed=1)
        assert first != plan(load, TARGETS, PROMPTS, seed=2)


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    prompts = [str(i) for i in range(20_000)]
    (lane,) = plan(Load("poisson", rate=4.0), ["a"], prompts)
    times = [due.at or 0.0 for due in lane.dues]
    gaps = [b - a for a, b in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.25, rel=0.03)
    assert deviation == pytest.approx(mean, rel=0.03)
    assert lane.width is None


def test_a_resumed_open_load_begins_at_once_and_keeps_its_distances() -> None:
    load = Load("poisson", rate=3.0)
    (whole,) = plan(load, ["a"], PROMPTS)
    done = {due.key for due in whole.dues[:5]}
    (rest,) = plan(load, ["a"], PROMPTS, done=done)
    start = whole.dues[5].at or 0.0
    assert [d.at for d in rest.dues] == pytest.approx([(d.at or 0) - start for d in whole.dues[5:]])


def test_warmup_requests_are_an_arm_of_their_own() -> None:
    (lane,) = warmup(TARGETS, PROMPTS, 2)
    assert Counter(due.key.target for due in lane.dues) == {"a": 2, "b": 2, "c": 2}
    assert {due.key.arm for due in lane.dues} == {"warmup"}
    assert not warmup(TARGETS, PROMPTS, 0)[0].dues


def test_no_two_requests_share_their_seed() -> None:
    keys = [Key("sampled", t, p, r) for t in TARGETS for p in PROMPTS for r in range(50)]
    seeds = {seed_of(7, key) for key in keys}
    assert len(seeds) > len(keys) - 3  # 31 bits: a collision among 3,000 is rare
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seed_of(7, keys[0]) != seed_of(8, keys[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "burst"},
        {"kind": "closed", "concurrency": 0},
        {"kind": "sequential", "concurrency": 2},
        {"kind": "poisson"},
        {"kind": "poisson", "rate": 0.0},
        {"kind": "poisson", "rate": float("nan")},
        {"kind": "closed", "rate": 1.0},
    ],
)
def test_a_load_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Load(**wrong)  # type: ignore[arg-type]


def test_with_a_duration_the_prompts_repeat_and_nothing_done_is_repeated() -> None:
    done = {Key("greedy", t, p, 0) for t in TARGETS for p in PROMPTS}
    (lane,) = cycle(Load(), TARGETS, PROMPTS, seconds=9, spent=4, done=done)
    assert isinstance(lane, Endless)
    assert lane.seconds == 5
    keys = [due.key for due in islice(lane.dues(), 120)]
    assert set(keys) == {Key("greedy", t, p, r) for t in TARGETS for p in PROMPTS for r in (1, 2)}
    lanes = cycle(Load("closed", 4), TARGETS, PROMPTS, seconds=9)
    for target, one in zip(TARGETS, lanes, strict=True):
        assert isinstance(one, Endless)
        assert {due.key.target for due in islice(one.dues(), 50)} == {target}


def test_for_a_time_an_open_load_has_every_arrival_of_that_time() -> None:
    load = Load("poisson", rate=3.0)
    (lane,) = cycle(load, ["a"], PROMPTS, seconds=20)
    assert isinstance(lane, Lane)
    (counted,) = plan(load, ["a"], PROMPTS, repetitions=9)
    assert list(lane.dues) == [due for due in counted.dues if (due.at or 0) < 20]
    done = {due.key for due in lane.dues[:5]}
    (rest,) = cycle(load, ["a"], PROMPTS, seconds=20, spent=3, done=done)
    assert isinstance(rest, Lane)
    assert [due.key for due in rest.dues] == [due.key for due in lane.dues[5:]]
    assert rest.dues[0].at == 0


def test_for_a_time_without_prompts_there_is_nothing_to_do() -> None:
    assert cycle(Load(), TARGETS, [], seconds=1) == ()


@given(st.integers(0, 70), st.integers(0, 9), st.sets(st.integers(0, 9)))
def test_sampled_calls_are_spread_over_the_prompts_and_alike_for_all_targets(
    calls: int, seed: int, finished: set[int]
) -> None:
    lanes = sampled(TARGETS, PROMPTS, calls, width=4, seed=seed)
    keys = [[due.key for due in lane.dues] for lane in lanes]
    assert [len(one) for one in keys] == [calls] * len(TARGETS)
    assert all(lane.width == 4 for lane in lanes)
    asked = [[(key.prompt, key.repetition) for key in one] for one in keys]
    assert asked[0] == asked[1] == asked[2]
    assert len(set(asked[0])) == calls
    often = Counter(prompt for prompt, _ in asked[0])
    assert not calls or max(often.values()) - min(often[p] for p in PROMPTS) <= 1
    done = {keys[1][i] for i in finished if i < calls}
    left = sampled(TARGETS, PROMPTS, calls, width=4, seed=seed, done=done)
    assert [len(lane.dues) for lane in left] == [calls, calls - len(done), calls]
    assert sampled([], PROMPTS, calls) == ()
