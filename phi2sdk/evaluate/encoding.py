"""Tokens of questions for log-likelihoods, split and truncated as in the harness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from phi2sdk.errors import BadResponse, ContextLengthExceeded
from phi2sdk.evaluate.questions import Likelihood, Likely, Rolling
from phi2sdk.logprobs import TokenLogprob
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.prompts import END_OF_TEXT

__all__ = ["Encode", "Pair", "last_pieces", "pair", "reply_of", "windows"]

Encode = Callable[[str], Sequence[int]]
Pair = tuple[list[int], list[int]]
"""The tokens of a context and of its continuation."""


def pair(question: Likelihood, encode: Encode, most: int) -> Pair:
    """Return the tokens of a question.

    Spaces at the end of the context belong to the continuation. Both are encoded as one text. A
    context that is too long loses its beginning.

    Args:
        question: The question.
        encode: Returns the tokens of a text.
        most: Largest number of tokens of both.
    """
    context, continuation = moved(question)
    if not context:
        before, after = [*encode(END_OF_TEXT)], [*encode(continuation)]
        if after[:1] == before:
            before, after = after[:1], after[1:]
    else:
        whole, count = [*encode(context + continuation)], len(encode(context))
        before, after = whole[:count], whole[count:]
    room = most - len(after)
    if not after or room < 1:
        raise ContextLengthExceeded(
            f"the continuation has {len(after)} tokens, and the model reads at most {most}"
        )
    return before[-room:], after


def windows(question: Rolling, encode: Encode, length: int) -> list[Pair]:
    """Return the windows of a text whose log-likelihoods add up to that of the text."""
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    made: Any = get_rolling_token_windows(
        token_list=[*encode(question.text)],
        prefix_token=encode(END_OF_TEXT)[0],
        max_seq_len=length,
        context_len=1,
    )
    return [(list(a), list(b)) for a, b in map(make_disjoint_window, made)]


def moved(question: Likelihood) -> tuple[str, str]:
    """Return context and continuation, with the spaces between them in the continuation."""
    context = question.context.rstrip()
    return context, question.context[len(context) :] + question.continuation


def last_pieces(text: str, tokenizer: ReferenceTokenizer, most: int) -> str:
    """Return the end of a text, with at most this many tokens."""
    if most < 1 or tokenizer.estimated or tokenizer.count(text) <= most:
        return text
    return "".join(tokenizer.pieces(text)[-most:])


def reply_of(
    context: str, continuation: str, tokens: Sequence[TokenLogprob], tokenizer: ReferenceTokenizer
) -> Likely:
    """Return the log-likelihood of a continuation from the tokens that an endpoint returned.

    Args:
        context: The text before the continuation.
        continuation: The continuation.
        tokens: The tokens of both.
        tokenizer: Counts the tokens of the context, if it is not an estimate.

    Raises:
        BadResponse: The tokens of the continuation cannot be identified.
    """
    own = tokens[_first(context, continuation, tokens, tokenizer) :]
    if not own or any(token.logprob is None for token in own):
        raise BadResponse(
            "the response has no log-probabilities for the tokens of the continuation"
        )
    told = all(token.best is not None for token in own)
    greedy = all(token.best is None or token.best[1] <= (token.logprob or 0.0) for token in own)
    logprob = float(sum(token.logprob or 0.0 for token in own))
    return Likely(logprob, greedy if told else None, len(own))


def _first(
    context: str, continuation: str, tokens: Sequence[TokenLogprob], tokenizer: ReferenceTokenizer
) -> int:
    """Return the place of the first token of the continuation.

    Raises:
        BadResponse: A token belongs to both, or the tokens are not those of the text.
    """
    if not tokenizer.estimated and len(tokens) == tokenizer.count(context + continuation):
        return tokenizer.count(context)
    at = 0
    for place, token in enumerate(tokens):
        if at == len(context) and "".join(one.text for one in tokens[place:]) == continuation:
            return place
        at += len(token.text)
    raise BadResponse(
        "the tokens in the response are not those of the text, or one of them belongs to the "
        "context and the continuation. Use a local target with the same tokenizer beside it"
    )
