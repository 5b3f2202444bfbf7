from __future__ import annotations

import pytest

from phi2sdk.errors import ConfigurationError
from phi2sdk.identity.alternatives import Alternative, parse


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("int4", Alternative("int4", weights="int4")),
        ("t=0.8", Alternative("t=0.8", temperature=0.8)),
        ("top_p=0.9", Alternative("top_p=0.9", top_p=0.9)),
        ("top_k=20", Alternative("top_k=20", top_k=20)),
        ("min_p=0.05", Alternative("min_p=0.05", min_p=0.05)),
        ("route=0.2:int3", Alternative("route=0.2:int3", weights="int3", share=0.2)),
        ("system=Be kind.", Alternative("system=Be kind.", system="Be kind.")),
        ("template=qa", Alternative("template=qa", template="qa")),
        ("other=models/b", Alternative("other=models/b", weights="models/b")),
        ("route=0.2:int4", Alternative("route=0.2:int4", weights="int4", share=0.2)),
        ("route=0.1:models/b", Alternative("route=0.1:models/b", weights="models/b", share=0.1)),
        ("route=0.5:t=0.7", Alternative("route=0.5:t=0.7", temperature=0.7, share=0.5)),
    ],
)
def test_what_is_written_is_what_is_meant(text: str, meant: Alternative) -> None:
    assert parse(text) == meant


@pytest.mark.parametrize(
    "text",
    ["", "int5", "t", "t=", "t=0", "t=warm", "top_p=1.1", "top_k=0", "top_k=x", "template=poem",
     "min_p=2", "system=",
     "route=0.2", "route=2:int4", "route=0:int4", "route=0.2:", "other="],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_a_word_on_what_can(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"use|must|write|top_p"):
        parse(text)


def test_only_other_weights_are_another_model() -> None:
    assert parse("int8").other is None
    assert parse("int3").other is None
    assert parse("t=0.9").other is None
    assert parse("other=x").other == "x"
    assert parse("top_k=7").sampling(12).top_k == 7
