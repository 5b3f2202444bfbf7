"""What a target's requests were charged for, prompt by prompt.

Everything that says something about money reads this: cost per summary, ratios, break-even, the
comparison with a baseline. The unit is the prompt, so that intervals can be bootstrapped over it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phi2sdk.completion import Count
from phi2sdk.measure.metrics.throughput import busy_seconds
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.pricing import Bill, Price

__all__ = ["Spend", "acceptable", "billed", "counted_input", "spend_of"]

Floats = NDArray[np.float64]
Prompts = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Spend:
    """Sums by prompt over all requests of one target, failures and retries included.

    Attributes:
        prompts: Their ids, in the order of the arrays.
        good: Acceptable answers.
        usd: US dollars at the price as it stands.
        token_usd: For tokens and calls alone; ``None`` where the price has neither.
        busy_usd: With machine time paid for the seconds used only; ``None`` without such time.
        seconds: Machine time; requests side by side share it.
        answered: The bills of acceptable answers, each with its prompt's place in the arrays.
        total: All bills together.
        warmup: The bill of the requests before the run, which are charged for as any other.
        estimated: Whether a token count behind it is an estimate.
    """

    prompts: tuple[str, ...]
    good: Floats
    usd: Floats
    token_usd: Floats | None
    busy_usd: Floats | None
    seconds: Floats
    answered: tuple[tuple[int, Bill], ...]
    total: Bill
    warmup: Bill
    estimated: bool

    def at(self, prompts: Sequence[str]) -> list[int]:
        """The places of some prompts in the arrays."""
        place = {prompt: index for index, prompt in enumerate(self.prompts)}
        return [place[prompt] for prompt in prompts]


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


def spend_of(
    price: Price,
    records: Sequence[Record],
    prompts: Prompts,
    tokenizer: ReferenceTokenizer,
    warmups: Sequence[Record] = (),
) -> Spend | None:
    """The spend of one target; ``None`` where something that is charged for is not known.

    Args:
        price: The target's.
        records: All its records, failures included; at least one.
        prompts: The prompt's text by its id.
        tokenizer: Counts what the provider did not.
        warmups: Its records from before the run.
    """
    names = tuple(dict.fromkeys(record.key.prompt for record in records))
    place = {name: index for index, name in enumerate(names)}
    bills = _bills(records, prompts, tokenizer)
    where = np.asarray([place[record.key.prompt] for record in records])
    usd = _by_prompt([price.usd(bill) for bill in bills], where, len(names))
    if usd is None:
        return None
    good = _sums([float(acceptable(record)) for record in records], where, len(names))
    seconds = _sums([bill.seconds or 0.0 for bill in bills], where, len(names))
    return Spend(
        prompts=names,
        good=good,
        usd=usd,
        token_usd=_by_prompt([price.token_priced(b) for b in bills], where, len(names)),
        busy_usd=None
        if (working := price.working()) is None
        else _by_prompt([working.usd(b) for b in bills], where, len(names)),
        seconds=seconds,
        answered=tuple(
            (int(at), bill)
            for record, bill, at in zip(records, bills, where, strict=True)
            if acceptable(record)
        ),
        total=_total(bills, busy_seconds(records)),
        warmup=_total(_bills(warmups, prompts, tokenizer), busy_seconds(warmups)),
        estimated=price.by_token and any(bill.estimated for bill in bills),
    )


def _bills(
    records: Sequence[Record], prompts: Prompts, tokenizer: ReferenceTokenizer
) -> list[Bill]:
    lengths = [_seconds(record) for record in records]
    # Requests side by side share the machine: each gets its part of the busy seconds.
    share = busy_seconds(records) / sum(lengths) if sum(lengths) > 0 else 0.0
    return [
        billed(record, prompts(record.key.prompt), tokenizer, length * share)
        for record, length in zip(records, lengths, strict=True)
    ]


def _total(bills: Sequence[Bill], seconds: float) -> Bill:
    return Bill(
        input=sum(bill.input or 0 for bill in bills),
        output=sum(bill.output or 0 for bill in bills),
        cached=sum(bill.cached for bill in bills),
        requests=sum(bill.requests for bill in bills),
        seconds=seconds,
    )


def _by_prompt(spent: Sequence[float | None], where: NDArray[np.intp], n: int) -> Floats | None:
    known = [usd for usd in spent if usd is not None]
    return _sums(known, where, n) if len(known) == len(spent) else None


def _sums(values: Sequence[float], where: NDArray[np.intp], n: int) -> Floats:
    return np.bincount(where, values, n).astype(np.float64)


def _seconds(record: Record) -> float:
    if record.t_send_ns is None:
        return 0.0
    end_ns = record.t_close_ns if record.t_last_ns is None else record.t_last_ns
    return (end_ns - record.t_send_ns) / 1e9
