"""Prompt formats of Phi-2; each one renders a string and the stops that end the answer.

Every backend sends exactly :attr:`Prompt.text`. The formats are those of the model card of
``microsoft/phi-2``; the stops are typical continuations, since the model rarely ends an answer by
itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from phi2sdk.errors import InvalidRequest

__all__ = [
    "END_OF_TEXT",
    "FORMATS",
    "SUMMARY_TEMPLATE",
    "Prompt",
    "chat",
    "code",
    "instruct",
    "qa",
    "raw",
    "render",
    "summarize",
]

END_OF_TEXT = "<|endoftext|>"
"""Phi-2's only control token: it begins and ends every document."""

Format = Literal["qa", "instruct", "chat", "code", "raw"]
FORMATS: tuple[Format, ...] = ("instruct", "qa", "chat", "code", "raw")

SUMMARY_TEMPLATE = "summarize/1"
"""Version of the template that :func:`summarize` renders; runs are comparable within one."""

_INSTRUCT_STOPS = ("\nInstruct:", "\nInstruction:", "\nOutput:", "\nExercise", "\nInput:")
_QA_STOPS = ("\nExercise", "\nInstruct:", "\nQuestion:", "\nAnswer:")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A string for the model, and the stops that end its answer.

    Attributes:
        text: The text that the model reads, byte for byte, on every backend.
        stop: The answer is cut before the first of these, and before :data:`END_OF_TEXT`.
        format: The format that rendered it.
        allow_control_tokens: Whether ``text`` may contain ``<|endoftext|>``.
        token_ids: The tokens of ``text``, for a local model, which otherwise tokenizes the text.

    Raises:
        InvalidRequest: The text is empty, or contains ``<|endoftext|>``, which the model reads as a
            control token, without ``allow_control_tokens``.
    """

    text: str
    stop: tuple[str, ...] = ()
    format: Format = "raw"
    allow_control_tokens: bool = False
    token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.text.strip() and not self.token_ids:
            raise InvalidRequest("the prompt is empty. Pass a prompt with at least one character")
        if END_OF_TEXT in self.text and not self.allow_control_tokens:
            raise InvalidRequest(
                f"the prompt contains {END_OF_TEXT!r}, which the model would read as a control "
                "token. Remove it, or pass allow_control_tokens=True"
            )
        if any(not stop for stop in self.stop):
            raise InvalidRequest(
                "a stop is empty and would end every answer immediately. Remove it"
            )
        try:
            self.text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"the prompt is not valid Unicode: a lone surrogate at position {error.start}"
            ) from error

    def __str__(self) -> str:
        return self.text


def instruct(instruction: str, *, allow_control_tokens: bool = False) -> Prompt:
    """Return the prompt ``Instruct: <instruction>\\nOutput:``, for concise answers."""
    _require(instruction, "instruction")
    text = f"Instruct: {instruction}\nOutput:"
    return Prompt(text, _INSTRUCT_STOPS, "instruct", allow_control_tokens)


def qa(question: str, *, allow_control_tokens: bool = False) -> Prompt:
    """Return a question as it is given; the model continues the text."""
    _require(question, "question")
    return Prompt(question, _QA_STOPS, "qa", allow_control_tokens)


def chat(
    turns: Sequence[tuple[str, str]], *, reply_as: str, allow_control_tokens: bool = False
) -> Prompt:
    """Return a dialogue with one line ``Name: text`` for each turn, ending in ``<reply_as>:``.

    Args:
        turns: ``(speaker, text)`` pairs in order; at least one.
        reply_as: The speaker whose next turn the model writes.
        allow_control_tokens: Whether a turn may contain ``<|endoftext|>``.

    The answer is cut before the next turn of any speaker, including ``reply_as``.
    """
    if not turns:
        raise InvalidRequest("a chat needs at least one turn to reply to")
    speakers = [speaker for speaker, _ in turns]
    for speaker in (*speakers, reply_as):
        if not speaker.strip() or ":" in speaker or "\n" in speaker:
            raise InvalidRequest(
                f"{speaker!r} is not a speaker: use a name without ':' or line break"
            )
    lines = [f"{speaker}: {text}" for speaker, text in turns]
    others = [speaker for speaker in speakers if speaker != reply_as]
    stop = tuple(f"\n{speaker}:" for speaker in dict.fromkeys((*others, reply_as)))
    return Prompt("\n".join([*lines, f"{reply_as}:"]), stop, "chat", allow_control_tokens)


def code(head: str, *, allow_control_tokens: bool = False) -> Prompt:
    """Return a signature with its docstring; the model writes the body.

    The answer ends before the next top-level statement (see :mod:`phi2sdk.stops`).
    """
    _require(head, "signature")
    return Prompt(head, (), "code", allow_control_tokens)


def raw(text: str, *, stop: Iterable[str] = (), allow_control_tokens: bool = False) -> Prompt:
    """Return a prompt with the text and the stops as given."""
    return Prompt(text, tuple(stop), "raw", allow_control_tokens)


def summarize(paragraph: str, *, allow_control_tokens: bool = False) -> Prompt:
    """Return the prompt for a summary in one sentence, version :data:`SUMMARY_TEMPLATE`."""
    _require(paragraph, "paragraph")
    return instruct(
        f"Summarize the following paragraph in one sentence.\n{paragraph.strip()}",
        allow_control_tokens=allow_control_tokens,
    )


def render(
    text: str,
    format: Format = "instruct",
    *,
    reply_as: str = "Bob",
    allow_control_tokens: bool = False,
) -> Prompt:
    """Return ``text`` in a format given by its name, as on the command line.

    For ``chat`` the text is a turn of Alice, which ``reply_as`` answers. ``allow_control_tokens``
    states whether the text may contain ``<|endoftext|>``.

    Raises:
        InvalidRequest: The format is unknown.
    """
    if format == "chat":
        return chat([("Alice", text)], reply_as=reply_as, allow_control_tokens=allow_control_tokens)
    formats = {"instruct": instruct, "qa": qa, "code": code, "raw": raw}
    return formats[known_format(format)](text, allow_control_tokens=allow_control_tokens)


def known_format(name: str) -> Format:
    """Return ``name`` if it is one of :data:`FORMATS`.

    Raises:
        InvalidRequest: It is not one of them.
    """
    for format in FORMATS:
        if format == name:
            return format
    raise InvalidRequest(f"there is no prompt format {name!r}. Use one of {', '.join(FORMATS)}")


def _require(text: str, what: str) -> None:
    if not text.strip():
        raise InvalidRequest(f"the {what} is empty. Pass at least one character")
