"""The cache of earlier requests in a backend never changes a request."""

from __future__ import annotations

import pytest

from phi2sdk import Sampling, prompts
from phi2sdk.backends.base import REMEMBERED
from phi2sdk.backends.openai import COMPLETIONS, OpenAIBackend
from phi2sdk.completion import Request
from phi2sdk.errors import UnsupportedParameter


@pytest.fixture
def backend() -> OpenAIBackend:
    return OpenAIBackend(base_url="http://127.0.0.1:1/v1", server="openai")


def asked(sampling: Sampling, text: str = "x") -> Request:
    return Request(prompts.raw(text), sampling)


def test_equal_numbers_of_another_kind_go_out_as_they_were_given(backend: OpenAIBackend) -> None:
    whole = backend.prepare(asked(Sampling(temperature=1, top_p=0.5)))[0]
    broken = backend.prepare(asked(Sampling(temperature=1.0, top_p=0.5)))[0]
    assert whole == broken
    assert [type(wire["temperature"]) for wire in (whole, broken)] == [int, float]
    zero = backend.prepare(asked(Sampling(temperature=0)))[0]
    assert type(zero["temperature"]) is int
    assert type(backend.prepare(asked(Sampling(temperature=0.0)))[0]["temperature"]) is float


def test_a_caller_may_change_the_keys_it_was_given(backend: OpenAIBackend) -> None:
    first, _ = backend.prepare(asked(Sampling()))
    first.clear()
    assert backend.prepare(asked(Sampling()))[0]["max_tokens"] == 256


def test_another_prompt_has_its_own_receipt(backend: OpenAIBackend) -> None:
    receipts = [backend.prepare(asked(Sampling(), text))[1] for text in ("one", "two")]
    assert [receipt.prompt for receipt in receipts] == ["one", "two"]


def test_an_exchanged_dialect_is_noticed(backend: OpenAIBackend) -> None:
    sampling = Sampling(temperature=0.5, top_k=3)
    with pytest.raises(UnsupportedParameter):
        backend.prepare(asked(sampling))
    backend._route.dialect = COMPLETIONS["vllm"]
    assert backend.prepare(asked(sampling))[0]["top_k"] == 3
    backend._route.dialect = COMPLETIONS["openai"]
    with pytest.raises(UnsupportedParameter):
        backend.prepare(asked(sampling))


def test_a_warning_is_given_each_time(backend: OpenAIBackend) -> None:
    backend.on_unsupported = "warn"
    for _ in range(2):
        with pytest.warns(UserWarning, match="top_k is ignored"):
            backend.prepare(asked(Sampling(temperature=0.5, top_k=3)))


def test_it_forgets_before_it_grows_without_bound(backend: OpenAIBackend) -> None:
    for seed in range(3 * REMEMBERED):
        backend.prepare(asked(Sampling(temperature=0.5, seed=seed)))
    assert len(backend._translated) <= REMEMBERED
