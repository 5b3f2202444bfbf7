"""Print a receipt: what was sent for a request, and what happened to each parameter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from phi2sdk.cli.output import print_lines, print_table
from phi2sdk.completion import Attempt, Completion, Receipt

if TYPE_CHECKING:
    from rich.console import Console


def print_receipt(
    receipt: Receipt,
    to: Console,
    *,
    request: Mapping[str, str] | None = None,
    answer: Mapping[str, str] | None = None,
) -> None:
    """Print the route, the prompt, and a table of the parameters.

    Args:
        receipt: The receipt.
        to: The console.
        request: Further lines about the request, by their labels.
        answer: Lines about the answer, by their labels.
    """
    provider = "" if receipt.provider == receipt.target else f" ({receipt.provider})"
    server = {} if receipt.server is None else {"server": str(receipt.server)}
    wrapped = "The prompt is sent as a chat message, which the server puts into a chat template."
    lines = {
        "target": f"{receipt.target}{provider}",
        "route": receipt.route,
        **server,
        **(request or {}),
        "prompt": f"{len(receipt.prompt.encode())} bytes: {_short(receipt.prompt)}",
        **({"template": wrapped} if receipt.wrapped else {}),
        **(answer or {}),
    }
    width = max(map(len, lines))
    print_lines(to, *(f"{label:<{width}}  {value}" for label, value in lines.items()), "")
    print_table(
        ("parameter", "value", "outcome", "sent as", "note"),
        (
            (fate.name, _value(fate.value), fate.fate, _wire(fate.wire), fate.note)
            for fate in receipt.parameters
        ),
        to,
        fold=("value", "sent as", "note"),
    )


def print_answered(completion: Completion, to: Console) -> None:
    """Print the receipt of an answer, with its attempts, tokens, latency and cost."""
    print_receipt(completion.receipt, to, answer=dict(_measured(completion)))
    attempts = completion.receipt.attempts
    if not attempts:
        return
    print_lines(to, "")
    print_table(
        ("attempt", "target", "result", "status", "duration (s)", "wait (s)"),
        ((str(number), *_attempt(one)) for number, one in enumerate(attempts, start=1)),
        to,
        right=("status", "duration (s)", "wait (s)"),
    )


def _attempt(one: Attempt) -> tuple[str, ...]:
    return (
        one.target,
        one.error or "answered",
        "-" if one.status is None else str(one.status),
        f"{(one.t_end_ns - one.t_send_ns) / 1e9:.3f}",
        f"{one.wait:.3f}" if one.wait else "-",
    )


def _measured(completion: Completion) -> Iterator[tuple[str, str]]:
    usage, timing, cost = completion.usage, completion.timing, completion.cost
    provider = completion.receipt.finish_reason
    yield "finish", f"{completion.finish_reason}{f' ({provider})' if provider else ''}"
    counts = ((usage.input, "input"), (usage.output_billed, "output"), (usage.cached, "cached"))
    known = ", ".join(f"{count} {name}" for count, name in counts if count is not None)
    yield "tokens", known or "not reported"
    first = "" if timing.ttft is None else f"TTFT {timing.ttft:.3f} s, "
    yield "latency", f"{first}end to end {timing.e2e:.3f} s"
    if cost is not None:
        about = "about " if cost.estimated else ""
        yield "cost", f"{about}{cost.usd:.2g} USD, {cost.source} ({cost.date})"


def _value(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(map(_json, value)) or "-" if isinstance(value, tuple) else _json(value)


def _wire(wire: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={_json(value)}" for key, value in wire.items()) or "-"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _short(text: str, most: int = 160) -> str:
    shown = _json(text)
    return shown if len(shown) <= most else f"{shown[:most]}..."
