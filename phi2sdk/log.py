"""The logger ``phi2sdk``, which is silent unless the application configures logging.

::

    logging.getLogger("phi2sdk").setLevel(logging.DEBUG)

``WARNING`` reports problems of a request that may still succeed: a retry with its wait, or a
fallback. ``INFO`` reports an endpoint that is woken. ``DEBUG`` has a line for the end of each
request. No line contains a key, a prompt, an answer, or a provider's message, which may quote them.
"""

from __future__ import annotations

import logging

from phi2sdk.completion import Completion
from phi2sdk.errors import Phi2Error

logger = logging.getLogger("phi2sdk")
logger.addHandler(logging.NullHandler())


def brief(error: Phi2Error) -> str:
    """Return the name and numbers of an error, without its message."""
    details = (("status", error.status), ("request id", error.request_id))
    said = ", ".join(f"{name} {value}" for name, value in details if value is not None)
    return f"{type(error).__name__} ({said})" if said else type(error).__name__


def answered(completion: Completion) -> None:
    """Log a completion; computes nothing unless the level is enabled."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    usage, attempts = completion.usage, len(completion.receipt.attempts)
    logger.debug(
        "%s answered in %.3f s: %s + %s tokens, finish reason %s, %d %s",
        completion.receipt.target,
        completion.timing.e2e,
        usage.input or "?",
        usage.output_billed or "?",
        completion.finish_reason,
        attempts,
        "attempt" if attempts == 1 else "attempts",
    )
