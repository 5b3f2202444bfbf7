"""What a summary costs: all that was spent over what was acceptable."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from phi2sdk.completion import Count
from phi2sdk.measure.metrics.throughput import busy_seconds, window_seconds
from phi2sdk.measure.records import Record
from phi2sdk.measure.statistics import Estimate, bootstrap_ratio, bootstrap_ratio_of_ratios
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.pricing import Bill, Price

__all__ = [
    "CostPerSummary",
    "acceptable",
    "billed",
    "cost_per_summary",
    "cost_ratio",
    "counted_input",
]

DEFINITION = (
    "All attributable spend, failures and retries included, over acceptable answers: no error, "
    "not filtered, not empty after cutting. Busy time is paid for the seconds in which a request "
    "was under way; reserved time for the whole window, idle or not."
)


@dataclass(frozen=True, slots=True)
class CostPerSummary:
    """USD per acceptable answer of one target.

    Attributes:
        per_summary: What the price says: tokens, requests, busy seconds, together.
        busy: The same, where machine time is part of the price.
        reserved: With the machine paid for the whole window; ``None`` where no machine is paid
            by time, and under sequential load, where the window is mostly other targets' time.
        estimated: Whether a token count behind it is an estimate.
    """

    per_summary: Estimate
    busy: Estimate | None
    reserved: Estimate | None
    estimated: bool


def acceptable(record: Record) -> bool:
    """Whether an answer counts as delivered."""
    return record.ok


def counted_input(prompt: str, tokenizer: ReferenceTokenizer) -> Count:
    """The prompt's tokens by the reference tokenizer."""
    return Count(tokenizer.count(prompt), estimated=True)


def billed(record: Record, prompt: str, tokenizer: ReferenceTokenizer, seconds: float) -> Bill:
    """What one request is charged for.

    Where the provider gave no counts they are the reference tokenizer's, marked as estimates. A
    request that failed before any text came is charged for no tokens; each attempt is a call.

    Args:
        record: The request.
        prompt: Its prompt.
        tokenizer: Counts what the provider did not.
        seconds: Its share of the machine's time.
    """
    failed_early = not record.raw and record.usage.input is None and record.error is not None
    read = record.usage.input or counted_input(prompt, tokenizer)
    wrote = record.usage.output_billed or Count(tokenizer.count(record.raw), estimated=True)
    if failed_early:
        read = wrote = Count(0)
    return Bill(
        input=read.value,
        output=wrote.value,
        cached=record.usage.cached.value if record.usage.cached else 0,
        requests=len(record.attempts),
        seconds=seconds,
        estimated=read.estimated or wrote.estimated,
    )


def cost_per_summary(
    price: Price | None,
    records: Sequence[Record],
    prompts: Callable[[str], str],
    tokenizer: ReferenceTokenizer,
    *,
    sequential: bool,
) -> CostPerSummary | None:
    """The cost of one target; ``None`` where its price is unknown or nothing was acceptable.

    Args:
        price: The target's.
        records: All its records, failures included.
        prompts: The prompt's text by its id.
        tokenizer: Counts what the provider did not.
        sequential: Whether the target idled while others were asked.
    """
    if price is None or not records:
        return None
    charged = _spent(price, records, prompts, tokenizer)
    if charged is None:
        return None
    bills, spent = charged
    good = sum(acceptable(record) for record in records)
    usd_by_prompt, answers = _per_prompt(records, spent)
    per_summary = bootstrap_ratio(list(usd_by_prompt.values()), list(answers.values()))
    if per_summary is None:
        return None
    reserved: Estimate | None = None
    if not sequential:
        total = Bill(
            input=sum(bill.input or 0 for bill in bills),
            output=sum(bill.output or 0 for bill in bills),
            cached=sum(bill.cached for bill in bills),
            requests=sum(bill.requests for bill in bills),
            seconds=busy_seconds(records),
        )
        usd = price.reserved(total, window_seconds(records))
        reserved = None if usd is None else Estimate(usd / good)
    return CostPerSummary(
        per_summary=per_summary,
        busy=per_summary if price.by_time else None,
        reserved=reserved,
        estimated=price.by_token and any(bill.estimated for bill in bills),
    )


def _seconds(record: Record) -> float:
    if record.t_send_ns is None:
        return 0.0
    end_ns = record.t_close_ns if record.t_last_ns is None else record.t_last_ns
    return (end_ns - record.t_send_ns) / 1e9


def cost_ratio(
    a: tuple[Price, Sequence[Record]],
    b: tuple[Price, Sequence[Record]],
    prompts: Callable[[str], str],
    tokenizer: ReferenceTokenizer,
) -> Estimate | None:
    """B's cost per summary over A's, bootstrapped over the prompts that both were asked.

    ``None`` where one of the two has no cost per summary, or A's is nothing.
    """
    sides = []
    for price, records in (a, b):
        charged = _spent(price, records, prompts, tokenizer) if records else None
        if charged is None:
            return None
        sides.append(_per_prompt(records, charged[1]))
    (usd_a, answers_a), (usd_b, answers_b) = sides
    both = [prompt for prompt in usd_a if prompt in usd_b]
    columns = [[side[prompt] for prompt in both] for side in (usd_a, answers_a, usd_b, answers_b)]
    return bootstrap_ratio_of_ratios(*columns)


def _spent(
    price: Price,
    records: Sequence[Record],
    prompts: Callable[[str], str],
    tokenizer: ReferenceTokenizer,
) -> tuple[list[Bill], list[float]] | None:
    """What each request is charged for, and its USD; ``None`` where one cannot be told."""
    lengths = [_seconds(record) for record in records]
    # Requests side by side share the machine: each gets its part of the busy seconds.
    share = busy_seconds(records) / sum(lengths) if sum(lengths) > 0 else 0.0
    bills = [
        billed(record, prompts(record.key.prompt), tokenizer, length * share)
        for record, length in zip(records, lengths, strict=True)
    ]
    spent = []
    for bill in bills:
        if (usd := price.usd(bill)) is None:
            return None
        spent.append(usd)
    return bills, spent


def _per_prompt(
    records: Sequence[Record], spent: Sequence[float]
) -> tuple[dict[str, float], dict[str, float]]:
    """``(usd, acceptable answers)`` by prompt."""
    usd: dict[str, float] = defaultdict(float)
    answers: dict[str, float] = defaultdict(float)
    for record, one in zip(records, spent, strict=True):
        usd[record.key.prompt] += one
        answers[record.key.prompt] += acceptable(record)
    return usd, answers
