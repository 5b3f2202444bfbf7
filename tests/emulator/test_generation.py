"""The end of an answer does not depend on its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi2sdk.emulator import Decoding, ScriptedEngine, Token
from phi2sdk.emulator.generation import GeneratedText, complete, keeping_stops, removing_stops


class Pieces:
    """An engine that yields given pieces, then end-of-text."""

    model = "pieces"
    context_length = 10_000

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces

    def count(self, text: str) -> int:
        return len(text)

    async def tokens(self, prompt: str, decoding: Decoding) -> AsyncIterator[Token]:
        for index, piece in enumerate(self.pieces[: decoding.max_tokens]):
            yield Token(index, piece, -0.5)
        if len(self.pieces) < decoding.max_tokens:
            yield Token(-1, "<end>", -0.5, special=True)


def run(pieces: list[str], stop: tuple[str, ...], most: int = 100, *, keep: bool) -> GeneratedText:
    steps = keeping_stops if keep else removing_stops
    return asyncio.run(complete(steps(Pieces(pieces), "", Decoding(most, stop=stop))))


texts = st.text("ab\n", max_size=4)


@settings(deadline=None)
@given(st.lists(texts, max_size=12), st.lists(texts.filter(bool), max_size=3))
def test_removing_stops_equals_cutting_the_whole_text(pieces: list[str], stops: list[str]) -> None:
    answer = run(pieces, tuple(stops), keep=False)
    # The reference looks at the text token by token and cuts at the leftmost stop seen first.
    seen = ""
    for piece in pieces:
        seen += piece
        found = [seen.find(stop) for stop in stops if stop in seen]
        if found:
            assert (answer.text, answer.finish) == (seen[: min(found)], "stop")
            return
    assert (answer.text, answer.finish) == (seen, "eos")


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=12), st.lists(texts.filter(bool), max_size=3))
def test_keeping_stops_ends_only_where_a_token_ends(pieces: list[str], stops: list[str]) -> None:
    answer = run(pieces, tuple(stops), keep=True)
    whole = "".join(pieces)
    assert whole.startswith(answer.text)
    if answer.finish == "stop":
        assert any(answer.text.endswith(stop) for stop in stops)
    else:
        assert answer.text == whole


@settings(deadline=None)
@given(st.lists(texts.filter(bool), min_size=1, max_size=12), st.integers(1, 12))
def test_the_length_limit_counts_tokens(pieces: list[str], most: int) -> None:
    for keep in (True, False):
        answer = run(pieces, (), most, keep=keep)
        assert answer.text == "".join(pieces[:most])
        # Keeping stops, as TGI does, even an end-of-text at the limit counts as the limit.
        limit = len(pieces) + 1 if keep else len(pieces)
        assert answer.finish == ("length" if most <= limit else "eos")


def test_a_stop_spread_over_tokens_never_leaks() -> None:
    answer = run(["yes", "\nIn", "struct", ":", " more"], ("\nInstruct:",), keep=False)
    assert [step.text for step in answer.steps] == ["yes", "", "", ""]
    assert answer.count == 4


@settings(deadline=None)
@given(st.text(max_size=60))
def test_scripted_tokens_concatenate_to_the_answer(text: str) -> None:
    engine = ScriptedEngine(text)

    async def collect() -> list[Token]:
        return [token async for token in engine.tokens("", Decoding(1000))]

    tokens = asyncio.run(collect())
    assert "".join(token.text for token in tokens if not token.special) == text
    assert tokens[-1].special
    assert engine.count(text) == len(tokens) - 1
    assert [token.id for token in engine.prompt_tokens(text)] == [t.id for t in tokens[:-1]]


async def test_scripts_can_be_a_text_a_mapping_a_function_or_a_sequence() -> None:
    async def answer(engine: ScriptedEngine, prompt: str) -> str:
        return (await complete(removing_stops(engine, prompt, Decoding(50)))).text

    assert await answer(ScriptedEngine("a"), "x") == "a"
    mapping = ScriptedEngine({"light": "short", "lighthouse": "long", "User: y": "exact"})
    assert await answer(mapping, "the lighthouse") == "long"
    assert await answer(mapping, "User: y") == "exact"
    assert await answer(ScriptedEngine(str.upper), "hello") == "HELLO"
    turns = ScriptedEngine(["a", "b"])
    assert [await answer(turns, "x") for _ in range(2)] == ["a", "b"]
    with pytest.raises(LookupError):
        await answer(turns, "x")
    with pytest.raises(LookupError):
        await answer(mapping, "nothing")
