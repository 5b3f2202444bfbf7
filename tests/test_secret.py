"""A key shows itself nowhere but where it is asked to."""

from __future__ import annotations

import copy
import pickle

import pytest

from phi2sdk import Secret


def test_a_secret_does_not_print_itself() -> None:
    secret = Secret(" sk-canary\n")
    shown = f"{secret} {secret!r}"
    assert "canary" not in shown + str([secret]) + str({"key": secret})
    assert secret.reveal() == "sk-canary"


def test_a_secret_refuses_to_be_pickled_or_copied() -> None:
    for spread in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="environment variable"):
            spread(Secret("sk-canary"))


def test_an_empty_secret_is_false() -> None:
    assert not Secret("  ")
    assert Secret("x")
