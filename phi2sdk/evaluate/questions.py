"""The questions of an evaluation, and the replies to them.

The harness asks a model in three ways: for the log-likelihood of a continuation, for that of a
whole text, and for a generated text. This module has a plain type for each, so that the code that
asks targets does not depend on the harness.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from phi2sdk.errors import ConfigurationError
from phi2sdk.sampling import Sampling

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "Generation",
    "Likelihood",
    "Likely",
    "Question",
    "Reply",
    "Rolling",
    "cut",
    "decode_reply",
    "encode_likely",
    "question_of",
]

DEFAULT_MAX_TOKENS = 256
"""Tokens of an answer if the task does not limit them, as in the harness."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A request for the log-likelihood of a continuation.

    Attributes:
        context: The text before it; if it is empty, the end-of-text token takes its place.
        continuation: The text.
    """

    context: str
    continuation: str


@dataclass(frozen=True, slots=True)
class Rolling:
    """A request for the log-likelihood of a whole text, in windows of the context length."""

    text: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A request for a text that continues a context.

    Attributes:
        context: The text that the model continues.
        sampling: How tokens are chosen; its stops are all sequences that end the text.
    """

    context: str
    sampling: Sampling


Question = Likelihood | Rolling | Generation


@dataclass(frozen=True, slots=True)
class Likely:
    """The reply to a question for a log-likelihood.

    Attributes:
        logprob: The log-likelihood in nats.
        greedy: Whether greedy decoding generates the continuation; ``None`` if the target does not
            tell the most likely tokens.
        tokens: Number of tokens of the continuation.
    """

    logprob: float
    greedy: bool | None
    tokens: int


Reply = Likely | str


def question_of(kind: str, arguments: Sequence[Any]) -> Question:
    """Return the question of a request of the harness.

    Args:
        kind: The type of the request, as the harness names it.
        arguments: Its arguments.

    Raises:
        ConfigurationError: The type is unknown, or an argument of the generation is not supported.
    """
    if kind == "loglikelihood":
        return Likelihood(*arguments)
    if kind == "loglikelihood_rolling":
        return Rolling(*arguments)
    if kind != "generate_until" or len(arguments) != 2:
        raise ConfigurationError(
            f"the task sends requests of type {kind!r} with {len(arguments)} arguments, which "
            "targets of this package cannot answer. Leave out the task"
        )
    context, given = arguments
    return Generation(context, _sampling(dict(given)))


def cut(text: str, stops: Iterable[str]) -> str:
    """Return a generated text up to the first stop, with the white space at both ends.

    >>> cut("  return x\\ndef f", ["\\ndef"])
    '  return x'
    """
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text


def encode_likely(reply: Likely) -> str:
    """Return the text that the journal keeps of a log-likelihood."""
    return json.dumps([reply.logprob, reply.greedy, reply.tokens], allow_nan=False)


def decode_reply(question: Question, text: str) -> Reply:
    """Return the reply to a question from the text that the journal keeps.

    Raises:
        ValueError: The text is not such a reply.
    """
    if isinstance(question, Generation):
        return text
    logprob, greedy, tokens = json.loads(text)
    known = greedy is None or isinstance(greedy, bool)
    if not (known and isinstance(logprob, float) and isinstance(tokens, int)):
        raise ValueError("it is not a log-likelihood")
    return Likely(logprob, greedy, tokens)


_MAX_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""The names of the limit of tokens; the first that is given counts, as in the harness."""


def _sampling(given: dict[str, Any]) -> Sampling:
    until = given.pop("until", None) or []
    stops = (until,) if isinstance(until, str) else tuple(until)
    limits = [given.pop(name) for name in _MAX_TOKENS if name in given]
    temperature = float(given.pop("temperature", 0.0) or 0.0)
    sampled = bool(given.pop("do_sample", temperature > 0))
    chosen: dict[str, Any] = {}
    for name, neutral in (("top_p", 1.0), ("top_k", None), ("min_p", 0.0)):
        value = given.pop(name, neutral)
        if sampled and value not in (neutral, 0):
            chosen[name] = value
    given.pop("num_beams", None)
    if given:
        raise ConfigurationError(
            f"the task sets the parameter {next(iter(given))} of the generation, which targets of "
            "this package do not have. Leave out the task"
        )
    return Sampling(
        max_tokens=int(next(iter(limits), DEFAULT_MAX_TOKENS)),
        temperature=temperature if sampled else 0.0,
        stop=tuple(stop for stop in dict.fromkeys(stops) if stop),
        **chosen,
    )
