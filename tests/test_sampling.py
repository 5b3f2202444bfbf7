"""Sampling parameters are checked, translated, and accounted for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.errors import InvalidRequest, UnsupportedParameter
from phi2sdk.sampling import PARAMETERS, Dialect, Rule, Sampling, translate

FULL = Dialect(
    "full",
    {
        "max_tokens": Rule("max_new_tokens"),
        "temperature": Rule("temperature"),
        "top_p": Rule("top_p", neutral=1.0),
        "top_k": Rule("top_k", neutral=-1),
        "repetition_penalty": Rule("repeat_penalty"),
        "seed": Rule("seed"),
        "stop": Rule("stop", limit=2),
    },
)
GREEDY_BY_FLAG = Dialect(
    "flag", dict(FULL.rules), greedy={"do_sample": False}, sampled={"do_sample": True}
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", "warm"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", 0),
        ("min_p", 1),
        ("min_p", -0.1),
        ("repetition_penalty", 0),
        ("seed", -1),
        ("seed", 2**63),
        ("stop", ("",)),
        ("stop", 7),
    ],
)
def test_a_value_out_of_range_is_refused_and_named(name: str, value: Any) -> None:
    if (name, value) == ("stop", 7):
        assert Sampling(stop=value).stop == ("7",)
        return
    with pytest.raises(InvalidRequest, match=name):
        Sampling(**{name: value})


def test_one_stop_may_be_a_bare_string() -> None:
    assert Sampling(stop="END").stop == ("END",)  # type: ignore[arg-type]
    assert Sampling(stop=["a", "b"]).stop == ("a", "b")  # type: ignore[arg-type]


samplings = st.builds(
    Sampling,
    max_tokens=st.integers(1, 99),
    temperature=st.sampled_from([0.0, 0.5, 1.0]),
    top_p=st.sampled_from([1.0, 0.9]),
    top_k=st.sampled_from([None, 5]),
    repetition_penalty=st.sampled_from([1.0, 1.1]),
    seed=st.sampled_from([None, 3]),
    stop=st.lists(st.sampled_from(["a", "b", "c"]), max_size=3, unique=True).map(tuple),
)


@given(samplings, st.sampled_from([FULL, GREEDY_BY_FLAG]))
def test_every_parameter_has_exactly_one_fate_and_the_wire_is_their_sum(
    sampling: Sampling, dialect: Dialect
) -> None:
    wire, fates = translate(sampling, dialect, stops=sampling.stop)
    assert tuple(fate.name for fate in fates) == PARAMETERS
    summed: dict[str, object] = {}
    for fate in fates:
        assert not set(fate.wire) & set(summed), "two parameters write one key"
        summed |= fate.wire
        assert (fate.fate == "neutral") <= (not fate.wire)
    assert summed == wire


def test_neutral_values_are_sent_if_the_route_has_one_and_left_out_otherwise() -> None:
    wire, fates = translate(Sampling(temperature=1.0), FULL, stops=())
    fate = {f.name: f for f in fates}
    assert wire["top_k"] == -1
    assert wire["top_p"] == 1.0
    assert "repeat_penalty" not in wire
    assert fate["repetition_penalty"].fate == "neutral"
    assert fate["min_p"].fate == "neutral"


def test_what_a_route_cannot_do_raises_with_the_routes_name() -> None:
    with pytest.raises(UnsupportedParameter, match=r"min_p=0\.1.*full has no such parameter"):
        translate(Sampling(temperature=1, min_p=0.1), FULL, stops=())


def test_with_warn_it_is_left_out_and_the_account_says_so() -> None:
    wire, fates = translate(
        Sampling(temperature=1, min_p=0.1), FULL, stops=(), on_unsupported="warn"
    )
    assert "min_p" not in wire
    assert next(f for f in fates if f.name == "min_p").fate == "unsupported"


def test_greedy_on_a_route_that_refuses_temperature_zero_is_emulated() -> None:
    wire, fates = translate(Sampling(top_p=0.5, seed=1), GREEDY_BY_FLAG, stops=())
    assert wire == {"max_new_tokens": 256, "do_sample": False}
    assert next(f for f in fates if f.name == "temperature").fate == "emulated"


def test_stops_beyond_the_routes_limit_are_cut_on_our_side_and_the_note_says_so() -> None:
    wire, fates = translate(Sampling(), FULL, stops=("a", "b", "c"))
    assert wire["stop"] == ["a", "b"]
    assert "2 of 3 sent" in next(f for f in fates if f.name == "stop").note
