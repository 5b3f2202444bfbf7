"""Requests for the log-probabilities of a given text, and the responses to them.

Text Generation Inference returns them with ``decoder_input_details`` (a server of release 3 must be
started with ``--enable-prefill-logprobs``), the completions route of vLLM and SGLang with ``echo``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phi2sdk.errors import BadResponse
from phi2sdk.logprobs import TokenLogprob


def ask_prefill(text: str) -> dict[str, Any]:
    """Return the body for TGI's ``/generate``, which generates at least one token."""
    parameters = {
        "max_new_tokens": 1,
        "do_sample": False,
        "details": True,
        "decoder_input_details": True,
        "return_full_text": False,
    }
    return {"inputs": text, "parameters": parameters}


def read_prefill(document: Any) -> tuple[TokenLogprob, ...]:
    """Return the tokens of the text in a response of TGI.

    Raises:
        BadResponse: They are not there, or have no log-probabilities.
    """
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    details = document.get("details") if isinstance(document, dict) else None
    prefill = details.get("prefill") if isinstance(details, dict) else None
    if not isinstance(prefill, list) or not prefill:
        raise BadResponse(
            "the response has no prefill tokens. A server of TGI 3 returns them if it is started "
            "with --enable-prefill-logprobs"
        )
    return _checked(_of_prefill(token) for token in prefill)


def ask_echo(model: str | None, text: str) -> dict[str, Any]:
    """Return the body for ``/completions``, which returns the prompt and generates nothing."""
    named = {} if model is None else {"model": model}
    return {**named, "prompt": text, "max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 0}


def read_echo(choice: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """Return the tokens of the text in the first choice of a response.

    Raises:
        BadResponse: They are not there, or have no log-probabilities.
    """
    found = choice.get("logprobs")
    columns = found if isinstance(found, dict) else {}
    tokens, logprobs = columns.get("tokens"), columns.get("token_logprobs")
    tops = columns.get("top_logprobs")
    if not isinstance(tokens, list) or not isinstance(logprobs, list):
        raise BadResponse("the response has no log-probabilities of the prompt")
    if not isinstance(tops, list):
        tops = [None] * len(tokens)
    if not len(tokens) == len(logprobs) == len(tops):
        raise BadResponse("the response does not have one log-probability for each token")
    return _checked(
        TokenLogprob(str(token), _number(own), None, _best(top))
        for token, own, top in zip(tokens, logprobs, tops, strict=True)
    )


def _of_prefill(token: Any) -> TokenLogprob:
    if not isinstance(token, dict):
        raise BadResponse("a prefill token is not a JSON object")
    id = token.get("id")
    whole = isinstance(id, int) and not isinstance(id, bool)
    return TokenLogprob(
        str(token.get("text")), _number(token.get("logprob")), id if whole else None
    )


def _checked(tokens: Iterator[TokenLogprob]) -> tuple[TokenLogprob, ...]:
    """Return the tokens; all but the first must have a log-probability."""
    found = tuple(tokens)
    if any(token.logprob is None for token in found[1:]):
        raise BadResponse("a token of the text has no log-probability")
    return found


def _number(value: object) -> float | None:
    """Return a log-probability; servers write minus infinity as a very low number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e9 < value <= 0:
        return None
    return float(value)


def _best(top: object) -> tuple[str, float] | None:
    if not isinstance(top, dict):
        return None
    known = {str(text): p for text, value in top.items() if (p := _number(value)) is not None}
    return max(known.items(), key=lambda item: item[1], default=None)
