"""Reads the finish reason of an answer, by one rule for every route.

An answer is complete only where the server gives a reason that means so. No reason, an empty one,
``abort``, ``error`` or an unknown one is a broken answer, whatever text came with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi2sdk.completion import FinishReason
from phi2sdk.errors import BadResponse
from phi2sdk.text import untrusted

_KNOWN: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "filter",
    "eos": "stop",  # Together
    "eos_token": "stop",  # TGI
    "stop_sequence": "stop",  # TGI
    "repetition": "stop",  # vLLM, where its repetition detection ended the answer
}


def told(value: Any) -> str | None:
    """Return the finish reason as the server reports it, or ``None`` if it reports none."""
    return untrusted(str(value), 80) if value is not None and value != "" else None


def finish_of(value: Any, partial: str = "") -> FinishReason:
    """Return the finish reason for the word of a server.

    Args:
        value: The finish reason in the response.
        partial: The text that came with it, for the error.

    Raises:
        BadResponse: The word does not say that the answer is complete.
    """
    word = told(value)
    known = _KNOWN.get(value) if isinstance(value, str) else None
    if known is not None:
        return known
    if word is None:
        raise BadResponse(
            "the response has no finish reason, so its text may be incomplete: send the request "
            "again, and look at the server's log if that happens often",
            partial=partial,
        )
    raise BadResponse(
        f"the server ended the answer with the finish reason {word!r}, so its text may be "
        "incomplete: look at the server's log, then send the request again",
        partial=partial,
    )
