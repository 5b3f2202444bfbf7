"""Reads the response of ``POST /score`` in each of the forms of its releases."""

from __future__ import annotations

import json
import re
from typing import Any

from phi2sdk.errors import BadResponse
from phi2sdk.transport.failures import Failure, error_for

_ENCODINGS = 3
"""Largest number of times that a response may be encoded as a JSON string."""


def answer_of(document: Any) -> str:
    """Return the first prompt's answer.

    The forms are ``{"output": ["..."]}``, ``["..."]`` and ``[{"0": "..."}]``. A string in one of
    these places is the answer as it is, also where its text is JSON. A bare string in place of
    them is read by :func:`_unquoted`.

    Raises:
        ProviderFault: The response reports a failure, in any of these places.
        BadResponse: There is no text.
    """
    found = _unquoted(document) if isinstance(document, str) else document
    _refuse_failure(found)
    if isinstance(found, dict) and "output" in found:
        found = found["output"]
    if isinstance(found, list) and found:
        found = found[0]
    _refuse_failure(found)
    if isinstance(found, dict):
        found = found.get("0")
    if not isinstance(found, str):
        raise BadResponse(
            "the endpoint reported success without text. Its container has failed, or it does not "
            "have the style 'score': check the log of the deployment"
        )
    return found


def without_echo(prompt: str, text: str) -> str:
    """Return ``text`` without the prompt that it begins with; white space is not compared."""
    if text.startswith(prompt):
        return text.removeprefix(prompt)
    echo = re.match(r"\s*" + r"\s+".join(map(re.escape, prompt.split())), text)
    return text[echo.end() :] if echo else text


def _unquoted(text: str) -> Any:
    """Return the response that a plain string contains.

    Azure's inference server encodes the string that a ``score.py`` returns once more. An object,
    an array, a string or null inside the string is therefore the response. A number, ``true`` or
    ``false`` is not a form of a response, so it is the text of the answer, like all that is not
    JSON.

    Raises:
        BadResponse: The string is empty.
    """
    for _ in range(_ENCODINGS):
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            break
        if isinstance(inner, int | float):
            break
        if not isinstance(inner, str):
            return inner
        text = inner
    if not text.strip():
        raise BadResponse(
            "the endpoint reported success with an empty string. Its container has failed: check "
            "the log of the deployment"
        )
    return text


def _refuse_failure(found: Any) -> None:
    if failure := Failure.in_event(found):
        raise error_for(failure)
