"""An answer ends at the same character however it was spread over chunks."""

from __future__ import annotations

import ast
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phi2sdk.stops import StopCutter


def cut(pieces: list[str], stops: list[str], **how: bool) -> str:
    cutter = StopCutter(stops, **how)
    return "".join(cutter.feed(piece) for piece in pieces) + cutter.flush()


def first_complete(text: str, stops: list[str]) -> str:
    """The rule, written as a search over all ends: an independent statement of it."""
    for end in range(1, len(text) + 1):
        starts = [end - len(s) for s in stops if text[:end].endswith(s)]
        if starts:
            return text[: min(starts)]
    return text


texts = st.text(alphabet="ab\n:", max_size=24)
stop_lists = st.lists(st.text(alphabet="ab\n:", min_size=1, max_size=4), max_size=4)


@given(texts, stop_lists, st.data())
@example("abc", ["abc", "b"], None)
def test_stops_cut_the_same_in_any_chunking(
    text: str, stops: list[str], data: st.DataObject | None
) -> None:
    expected = first_complete(text, stops)
    assert cut([text], stops) == expected
    assert cut(list(text), stops) == expected
    if data is not None:
        borders = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
        edges = [0, *borders, len(text)]
        pieces = [text[a:b] for a, b in pairwise(edges)]
        assert cut(pieces, stops) == expected


code_texts = st.lists(
    st.sampled_from(
        ["\n", "    x", "x", '"""', "'''", "'", "#", ")", "]", "\\", " ", "\n\n", "a b"]
    ),
    max_size=14,
).map("".join)


@given(code_texts, st.booleans())
def test_code_is_cut_the_same_in_any_chunking(text: str, line_start: bool) -> None:
    whole = cut([text], [], top_level=True, line_start=line_start)
    assert cut(list(text), [], top_level=True, line_start=line_start) == whole
    assert text.startswith(whole)


@pytest.mark.parametrize(
    ("generated", "kept"),
    [
        ("    return 1\n\nprint(f())\n", "    return 1\n"),
        ("    return 1\ndef g():\n    pass\n", "    return 1"),
        ("    return [\n        1,\n]\nx = 2", "    return [\n        1,\n]"),
        ('    s = """\nnot a statement\n"""\n    return s\nclass A: ...', None),
        ("    # it's a comment\n    return 1\n# Example\n", "    # it's a comment\n    return 1"),
        ("    x = 1 + \\\n2\n    return x\n@decorator\n", "    x = 1 + \\\n2\n    return x"),
        ("    return 1", "    return 1"),
    ],
)
def test_code_ends_before_the_next_top_level_statement(generated: str, kept: str | None) -> None:
    if kept is None:
        kept = generated[: generated.index("\nclass")]
    assert cut([generated], [], top_level=True) == kept
    ast.parse(f"def f():\n{kept}\n")  # what is left is a whole program


def test_a_statement_in_the_first_column_right_after_the_prompt_leaves_nothing() -> None:
    assert cut(["print(1)"], [], top_level=True, line_start=True) == ""
    assert cut(["print(1)"], [], top_level=True, line_start=False) == "print(1)"


def test_a_stop_spread_over_three_chunks_is_found_and_nothing_of_it_is_shown() -> None:
    cutter = StopCutter(["\nInstruct:"])
    assert [cutter.feed(p) for p in ("Done.", "\nIns", "truct", ": more")] == ["Done.", "", "", ""]
    assert cutter.ended
    assert cutter.feed("anything") == ""


def test_what_only_looked_like_a_stop_is_given_out() -> None:
    cutter = StopCutter(["\nInstruct:"])
    assert cutter.feed("a\nIns") == "a"
    assert cutter.feed("ide") == "\nInside"
    assert not cutter.ended


def test_the_end_of_text_token_always_ends_the_text() -> None:
    assert cut(["one<|endof", "text|>two"], []) == "one"
