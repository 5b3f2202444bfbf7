"""Engines that answer for the emulators: the protocol, and a scripted engine."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Protocol, runtime_checkable

__all__ = [
    "EOS_ID",
    "EOS_TEXT",
    "Answers",
    "Decoding",
    "Engine",
    "ScoringEngine",
    "ScriptedEngine",
    "Token",
    "TokenizingEngine",
    "echoed_tokens",
]

EOS_ID = 50256
EOS_TEXT = "<|endoftext|>"

_PIECE = re.compile(r" ?\w{1,8}| ?[^\w\s]|\s")


@dataclass(frozen=True, slots=True)
class Token:
    """A token with its id, the text that it adds (may be empty), and its natural log-probability.

    ``best`` is the text and the log-probability of the most likely token, if the engine knows them.
    """

    id: int
    text: str
    logprob: float | None
    special: bool = False
    best: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Decoding:
    """The sampling parameters as a server understood them. Temperature 0 means greedy."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Engine(Protocol):
    """Generates tokens for a prompt.

    The server handles stop strings; an engine ignores ``decoding.stop``.
    """

    model: str
    context_length: int

    def count(self, text: str) -> int:
        """Return the number of tokens of ``text``."""
        ...

    def tokens(self, prompt: str, decoding: Decoding) -> AsyncIterator[Token]:
        """Yield tokens until the end-of-text token (``special``) or ``max_tokens`` is reached.

        The texts of the tokens that are not special concatenate to the output. Closing the
        iterator stops the generation.
        """
        ...


@runtime_checkable
class TokenizingEngine(Protocol):
    """An engine that can also tokenize a text (for echo, prefill and /tokenize)."""

    def prompt_tokens(self, text: str) -> Sequence[Token]:
        """Return the tokens of ``text``; the first has no log-probability."""
        ...


@runtime_checkable
class ScoringEngine(Protocol):
    """An engine that can compute the log-probabilities of a text with a forward pass."""

    async def scored_tokens(self, text: str) -> Sequence[Token]:
        """Return the tokens of ``text`` with log-probabilities; the first token has none."""
        ...


async def echoed_tokens(engine: Engine, text: str) -> Sequence[Token]:
    """Return the tokens of a prompt for a response, with their log-probabilities if possible."""
    if isinstance(engine, ScoringEngine):
        return await engine.scored_tokens(text)
    return engine.prompt_tokens(text) if isinstance(engine, TokenizingEngine) else ()


Answers = str | Mapping[str, str] | Callable[[str], str] | Sequence[str]


class ScriptedEngine:
    """Answers from a script, split into word-like tokens.

    Args:
        answers: One text for all prompts; a mapping from prompt to answer (the whole prompt, or the
            longest key that occurs in it, so that a prompt in a chat template is found); a
            function of the prompt; or a sequence that is used up in order.
        model: The name of the model in responses.
        context_length: Maximum number of tokens of prompt and completion together.
        eos: Whether an answer ends with the end-of-text token; if not, the answer repeats up to
            ``max_tokens``, like a base model that does not stop.

    A prompt without an answer raises ``LookupError``, which a server reports with status 500.
    """

    def __init__(
        self,
        answers: Answers = "Phi-2 is a small language model.",
        *,
        model: str = "microsoft/phi-2",
        context_length: int = 2048,
        eos: bool = True,
    ) -> None:
        self.model = model
        self.context_length = context_length
        self.eos = eos
        self.answers(answers)

    def answers(self, answers: Answers) -> None:
        """Replace the answers."""
        self._answer = _answerer(answers)

    def count(self, text: str) -> int:
        """Return the number of tokens of ``text``."""
        return sum(1 for _ in _PIECE.finditer(text))

    def prompt_tokens(self, text: str) -> Sequence[Token]:
        """Return the tokens of ``text``; the first has no log-probability."""
        pieces = [_token(match.group()) for match in _PIECE.finditer(text)]
        if pieces:
            pieces[0] = Token(pieces[0].id, pieces[0].text, None)
        return pieces

    async def tokens(self, prompt: str, decoding: Decoding) -> AsyncIterator[Token]:
        """Yield the scripted answer to ``prompt``, token by token."""
        pieces = [match.group() for match in _PIECE.finditer(self._answer(prompt))]
        if not self.eos:
            pieces = list(islice(cycle(pieces or [" "]), decoding.max_tokens))
        for piece in pieces[: decoding.max_tokens]:
            yield _token(piece)
        if len(pieces) < decoding.max_tokens:
            yield Token(EOS_ID, EOS_TEXT, -0.01, special=True)


def _token(piece: str) -> Token:
    digest = zlib.crc32(piece.encode())
    return Token(digest % EOS_ID, piece, -(1 + digest % 2000) / 1000)


def _answerer(answers: Answers) -> Callable[[str], str]:
    if isinstance(answers, str):
        text = answers
        return lambda prompt: text
    if isinstance(answers, Mapping):
        return _Lookup(answers)
    if callable(answers):
        return answers
    return _InTurn(answers)


class _Lookup:
    def __init__(self, answers: Mapping[str, str]) -> None:
        self._answers = dict(answers)

    def __call__(self, prompt: str) -> str:
        if prompt in self._answers:
            return self._answers[prompt]
        for key in sorted(self._answers, key=len, reverse=True):
            if key in prompt:
                return self._answers[key]
        raise LookupError("the script has no answer for this prompt")


class _InTurn:
    def __init__(self, answers: Sequence[str]) -> None:
        self._left = list(answers)

    def __call__(self, prompt: str) -> str:
        if not self._left:
            raise LookupError("the script has run out of answers")
        return self._left.pop(0)
