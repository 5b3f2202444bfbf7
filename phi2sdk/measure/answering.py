"""Answer one row of a journal with a client, and return its outcome."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from time import perf_counter_ns

from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.client.limits import CHARGED
from phi2sdk.completion import Completion, Request, Sent
from phi2sdk.errors import BudgetExceeded, Phi2Error
from phi2sdk.fold import Fold
from phi2sdk.measure.answers import Answer
from phi2sdk.text import encodable, for_terminal


async def answer_row(
    client: AsyncPhi2Client,
    request: Request,
    n: int,
    id: str,
    *,
    sent: Callable[[int], None],
    text: Callable[[Completion], str] = str,
) -> Answer | None:
    """Return the outcome of a row; ``None`` if the budget covers no call for it.

    Args:
        client: Sends the request.
        request: The request of the row.
        n: Number of the row.
        id: Id of the row.
        sent: Called with the number before each call is sent.
        text: Returns the text of a completion that is recorded; by default its answer.
    """
    charged: list[float] = []
    CHARGED.set(charged)
    account = Fold(request)
    result: Completion | Phi2Error
    try:
        async with aclosing(client.events(request)) as events:
            async for event in events:
                if type(event) is Sent:
                    sent(n)
                account.take(event)
        result = client.finish(account)
    except Phi2Error as error:
        account.fail(error, perf_counter_ns())
        result = error
    if isinstance(result, BudgetExceeded) and not account.attempts:
        return None
    usd = None if client.spending is None else sum(charged)
    if isinstance(result, Phi2Error):
        attempts = account.attempts
        target = attempts[-1].target if attempts else None
        return failed(n, id, result, target=target, attempts=len(attempts), charged=usd)
    usage = result.usage
    return Answer(
        n,
        id,
        text=encodable(text(result)),
        finish_reason=result.finish_reason,
        input_tokens=usage.input.value if usage.input else None,
        output_tokens=usage.output_billed.value if usage.output_billed else None,
        usd=result.cost.usd if result.cost else None,
        target=result.receipt.target,
        attempts=len(account.attempts),
        charged=usd,
    )


def failed(
    n: int, id: str, error: Phi2Error, *, target: str | None, attempts: int, charged: float | None
) -> Answer:
    """Return the outcome of a row that failed."""
    message = for_terminal(encodable(str(error)))[:500]
    named = f"{type(error).__name__}: {message}"
    return Answer(n, id, target=target, attempts=attempts, error=named, charged=charged)
