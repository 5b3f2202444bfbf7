"""Prompt formats render to the published bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk import prompts
from phi2sdk.errors import InvalidRequest

words = st.text(st.characters(codec="utf-8"), min_size=1).filter(
    lambda text: bool(text.strip()) and prompts.END_OF_TEXT not in text
)


def test_instruct_renders_the_published_example() -> None:
    prompt = prompts.instruct("Write a detailed analogy between mathematics and a lighthouse.")
    assert (
        prompt.text
        == "Instruct: Write a detailed analogy between mathematics and a lighthouse.\nOutput:"
    )
    assert "\nInstruct:" in prompt.stop


def test_chat_renders_the_published_example() -> None:
    prompt = prompts.chat(
        [
            ("Alice", "I don't know why, I'm struggling to maintain focus while studying."),
            ("Bob", "Well, have you tried creating a study schedule?"),
            ("Alice", "Yes, I have, but it doesn't seem to help much."),
        ],
        reply_as="Bob",
    )
    assert prompt.text.startswith("Alice: I don't know why")
    assert prompt.text.endswith("it doesn't seem to help much.\nBob:")
    assert prompt.stop == ("\nAlice:", "\nBob:")


def test_qa_and_code_and_raw_change_nothing() -> None:
    head = 'def print_prime(n):\n   """\n   Print all primes between 1 and n\n   """'
    assert prompts.qa("What is a tide?").text == "What is a tide?"
    assert prompts.code(head).text == head
    assert prompts.raw(" as it is \n", stop=["END"]) == prompts.Prompt(" as it is \n", ("END",))


def test_summarize_renders_its_versioned_template() -> None:
    assert prompts.SUMMARY_TEMPLATE == "summarize/1"
    assert prompts.summarize("  Tides rise.\n").text == (
        "Instruct: Summarize the following paragraph in one sentence.\nTides rise.\nOutput:"
    )


@given(words)
def test_a_format_named_by_a_string_is_the_function_of_that_name(text: str) -> None:
    assert prompts.render(text, "instruct") == prompts.instruct(text)
    assert prompts.render(text, "qa") == prompts.qa(text)
    assert prompts.render(text, "code") == prompts.code(text)
    assert prompts.render(text, "raw") == prompts.raw(text)
    assert prompts.render(text, "chat") == prompts.chat([("Alice", text)], reply_as="Bob")


def test_an_unknown_format_is_named_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match=r"no prompt format 'poem'.*instruct, qa"):
        prompts.render("text", "poem")  # type: ignore[arg-type]


@pytest.mark.parametrize("empty", ["", "   ", "\n\t"])
def test_an_empty_prompt_is_refused_in_every_format(empty: str) -> None:
    for make in (prompts.instruct, prompts.qa, prompts.code, prompts.raw, prompts.summarize):
        with pytest.raises(InvalidRequest, match="is empty"):
            make(empty)
    with pytest.raises(InvalidRequest, match="at least one turn"):
        prompts.chat([], reply_as="Bob")


def test_a_control_token_in_a_prompt_needs_leave() -> None:
    with pytest.raises(InvalidRequest, match="control token"):
        prompts.instruct("one<|endoftext|>two")
    allowed = prompts.instruct("one<|endoftext|>two", allow_control_tokens=True)
    assert "<|endoftext|>" in allowed.text


@pytest.mark.parametrize("speaker", ["", " ", "A:B", "A\nB"])
def test_a_speaker_that_would_break_the_format_is_refused(speaker: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a speaker"):
        prompts.chat([(speaker, "hello")], reply_as="Bob")


def test_a_lone_surrogate_is_refused_before_any_wire_sees_it() -> None:
    with pytest.raises(InvalidRequest, match="not valid Unicode"):
        prompts.raw("broken \ud800")


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="a stop is empty"):
        prompts.raw("text", stop=[""])
