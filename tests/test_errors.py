"""Errors carry what is known, survive pickling, and say it in one line."""

from __future__ import annotations

import pickle

import pytest

from phi2sdk import errors
from phi2sdk.errors import Phi2Error, RateLimited

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_survives_pickling_with_all_it_knows(kind: type[Phi2Error]) -> None:
    error = kind("what", provider="azure", status=429, code="c", retry_after=1.5, partial="half")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_an_error_says_provider_status_code_and_attempts() -> None:
    error = RateLimited("slow down", provider="hf", status=429, code="overloaded", attempts=3)
    assert str(error) == "hf: slow down (status 429, code overloaded, attempts 3)"


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    assert errors.__doc__ is not None
    drawn = {line.strip("│├└─ ").split()[0] for line in errors.__doc__.splitlines() if "──" in line}
    assert drawn | {"Phi2Error"} == set(errors.__all__)


def test_only_transient_errors_are_retryable() -> None:
    retryable = {kind.__name__ for kind in ALL if kind.retryable}
    assert retryable == {
        "TransientError",
        "RateLimited",
        "Overloaded",
        "ModelLoading",
        "Timeout",
        "ConnectionFailed",
        "ProviderFault",
    }
