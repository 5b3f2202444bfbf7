"""Checks whether the token counts that a provider reports are possible.

A count goes into budgets, metrics and reports, and it is foreign input like any other. Whatever
backend it comes from, a count that the request cannot have produced (negative, not a whole number,
or above the most that prompt and ``max_tokens`` allow) is left out, as if the provider had reported
none: a budget charges the worst case, a report estimates.
"""

from __future__ import annotations

from dataclasses import replace

from phi2sdk.completion import Chunk, Count, Done, Event, Opened, Request, Usage
from phi2sdk.log import logger

_EXTRA_TOKENS = 8
"""Tokens that a server adds to a prompt or an answer, such as a beginning-of-text token."""
_TEMPLATE_TOKENS = 256
"""Tokens that a server adds with a chat template, including a system message."""


def most_input(request: Request, *, wraps: bool) -> int:
    """Return the largest number of tokens that a prompt can have.

    A tokenizer that works on bytes makes no more tokens of a text than it has bytes.

    Args:
        request: The request.
        wraps: The route wraps the prompt into a chat template.
    """
    extra = _TEMPLATE_TOKENS if wraps else _EXTRA_TOKENS
    return len(request.prompt.text.encode("utf-8", "surrogatepass")) + extra


def most_output(request: Request) -> int:
    """Return the largest number of tokens that an answer can have."""
    return request.sampling.max_tokens + _EXTRA_TOKENS


def plausible(usage: Usage, request: Request, *, wraps: bool) -> Usage:
    """Return the usage without the counts that the request cannot have produced."""
    read = _within(usage.input, most_input(request, wraps=wraps))
    most = most_output(request)
    return Usage(
        input=read,
        output_billed=_within(usage.output_billed, most),
        output_kept=_within(usage.output_kept, most),
        cached=_within(usage.cached, read.value if read else most_input(request, wraps=wraps)),
    )


def believed(event: Event, request: Request, *, wraps: bool, target: str) -> Event:
    """Return an event without the counts that the request cannot have produced.

    Args:
        event: The event of the backend.
        request: The request.
        wraps: The route wraps the prompt into a chat template.
        target: The target's name, for the log.
    """
    if isinstance(event, Chunk):
        if event.tokens is None or _whole(event.tokens, most_output(request)):
            return event
        return replace(event, tokens=None)
    if isinstance(event, Opened) and event.input is not None:
        found = Usage(input=event.input)
        if (kept := plausible(found, request, wraps=wraps)) == found:
            return event
        _warn(target)
        return replace(event, input=kept.input)
    if isinstance(event, Done) and event.usage != Usage():
        if (kept := plausible(event.usage, request, wraps=wraps)) == event.usage:
            return event
        _warn(target)
        return replace(event, usage=kept)
    return event


def _within(count: Count | None, most: int) -> Count | None:
    return count if count is not None and _whole(count.value, most) else None


def _whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _warn(target: str) -> None:
    logger.warning(
        "%s: the provider reports a number of tokens that the request cannot have produced; it is "
        "treated as not reported. Compare the provider's bill with its responses",
        target,
    )
