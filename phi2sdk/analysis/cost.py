"""Compute the spending of a run, the cost per answer of a target, and its cost at a volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phi2sdk.analysis.metrics import busy_seconds
from phi2sdk.analysis.statistics import Estimate, bootstrap_ratio, bootstrap_ratio_of_ratios
from phi2sdk.completion import Count
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.pricing.models import Hourly, Owned
from phi2sdk.pricing.price import Bill, Price


@dataclass(frozen=True, slots=True)
class CostPerSummary:
    """The cost of one target in US dollars per acceptable answer.

    Attributes:
        per_summary: The cost at the price: tokens, requests and machine seconds together.
        token_priced: The cost of tokens and calls only.
        busy: The cost with machine time paid only for the seconds used.
        reserved: The cost including idle machine time. It has no interval if the machine is paid
            for the window of the run.
        warmup_usd: Total cost of the warm-up, which is part of the spend.
        unknown: The reason for each number that is ``None``, by its name.
        estimated: Whether a token count is an estimate.
    """

    per_summary: Estimate
    token_priced: Estimate | None
    busy: Estimate | None
    reserved: Estimate | None
    warmup_usd: float
    unknown: Mapping[str, str] = field(default_factory=dict)
    estimated: bool = False


def cost_per_summary(price: Price, spend: Spend, window: float | None) -> CostPerSummary | None:
    """Return the cost of one target; ``None`` without an acceptable answer.

    Args:
        price: The price of the target.
        spend: The spend of all its requests.
        window: The seconds of the run for which its machines are reserved; ``None`` under
            sequential load, in which the target is idle during requests to other targets.
    """
    if not spend.good.any():
        return None
    per_summary = _per_summary(spend, spend.usd, price.usd(spend.warmup))
    assert per_summary is not None
    return CostPerSummary(
        per_summary=per_summary,
        token_priced=_per_summary(spend, spend.token_usd, price.token_priced(spend.warmup)),
        busy=_per_summary(spend, spend.busy_usd, price.busy(spend.warmup)),
        reserved=_reserved(price, spend, per_summary, window),
        warmup_usd=price.usd(spend.warmup) or 0.0,
        unknown=_unknown(price, window),
        estimated=spend.estimated,
    )


def why_unknown(price: Price | None, records: Sequence[Record]) -> str:
    """Return why the cost of a target is unknown, as a clause after "because"."""
    if price is None:
        return "no price is configured"
    if not records:
        return "no request was sent"
    if not any(acceptable(record) for record in records):
        return "no request was answered"
    return "a charged quantity was not measured"


def cost_ratio(a: Spend, b: Spend) -> Estimate | None:
    """Return the ratio of B's cost per summary to A's, bootstrapped over their common prompts.

    It is ``None`` if one of the two has no acceptable answer, or A costs nothing. The warm-up is
    excluded, because it belongs to no prompt.
    """
    asked = set(b.prompts)
    both = [prompt for prompt in a.prompts if prompt in asked]
    columns = [a.usd, a.good, b.usd, b.good]
    places = [a.at(both)] * 2 + [b.at(both)] * 2
    return bootstrap_ratio_of_ratios(
        *(c[at].tolist() for c, at in zip(columns, places, strict=True))
    )


def _per_summary(spend: Spend, usd: Floats | None, warmup: float | None) -> Estimate | None:
    """Return spend over acceptable answers, with the warm-up divided among the prompts."""
    if usd is None or warmup is None:
        return None
    shared = usd + warmup / len(usd)
    return bootstrap_ratio(shared.tolist(), spend.good.tolist())


def _reserved(
    price: Price, spend: Spend, stated: Estimate, window: float | None
) -> Estimate | None:
    if not price.by_time:
        return None
    if not _for_a_window(price):
        return stated  # the stated utilization includes the idle time of every machine
    usd = price.reserved(spend.total, window)
    if usd is None:
        return None
    warmup: Bill = spend.warmup
    return Estimate((usd + (price.usd(warmup) or 0.0)) / float(spend.good.sum()))


def _for_a_window(price: Price) -> bool:
    return any(isinstance(part, Hourly) and part.utilisation == 1 for part in price.parts)


def _unknown(price: Price, window: float | None) -> dict[str, str]:
    reasons = {}
    if price.token_priced(Bill(0, 0)) is None:
        reasons["token_priced"] = "the price has no part by token or call"
    if not price.by_time:
        reasons["busy"] = reasons["reserved"] = "the price has no machine time"
    elif window is None and _for_a_window(price):
        reasons["reserved"] = (
            "under sequential load other targets use most of the window; state a utilization, or "
            "give a volume"
        )
    return reasons


Floats = NDArray[np.float64]
Prompts = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Spend:
    """Sums per prompt over all requests of one target, including failures and retries.

    Attributes:
        prompts: The ids of the prompts, in the order of the arrays.
        good: Number of acceptable answers.
        usd: US dollars at the price.
        token_usd: US dollars for tokens and calls only; ``None`` if the price has neither.
        busy_usd: US dollars with machine time paid only for the seconds used; ``None`` if the
            price has no machine time.
        seconds: Machine time, which concurrent requests share.
        answered: The bills of acceptable answers, each with its prompt's index in the arrays.
        total: The sum of all bills.
        warmup: The bill of the warm-up, which is charged like other requests.
        estimated: Whether a token count is an estimate.
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
        """Return the indices of prompts in the arrays."""
        place = {prompt: index for index, prompt in enumerate(self.prompts)}
        return [place[prompt] for prompt in prompts]


def acceptable(record: Record) -> bool:
    """Return whether an answer is acceptable."""
    return record.ok


def billed(record: Record, prompt: str, tokenizer: ReferenceTokenizer, seconds: float) -> Bill:
    """Return the bill of one request.

    If the provider reported no token counts, those of the reference tokenizer are used and marked
    as estimates. A request that failed before any text arrived is charged for no tokens. Each
    attempt is a call.

    Args:
        record: The request.
        prompt: The text of its prompt.
        tokenizer: Counts tokens that the provider did not report.
        seconds: The request's share of the machine time.
    """
    failed_early = not record.raw and record.usage.input is None and record.error is not None
    read = record.usage.input or Count(tokenizer.count(prompt), estimated=True)
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
    """Return the spend of one target; ``None`` if a charged quantity is unknown.

    Args:
        price: The price of the target.
        records: All records of the target, including failures; at least one.
        prompts: The text of each prompt by id.
        tokenizer: Counts tokens that the provider did not report.
        warmups: The records of the warm-up.
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
    # Concurrent requests share the machine, so each is charged its part of the busy seconds.
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


DAY = 86400.0
_MOST = 50.0
"""Maximum exponent: exp(50) seconds is longer than a day, so the machine never scales to zero."""


def machines(volume: Floats, seconds: Floats) -> Floats:
    """Return the number of machines that a volume keeps busy, at least one."""
    # A product of floats may be slightly above the exact integer.
    return np.maximum(1.0, np.ceil(volume * seconds / DAY * (1 - 1e-12)))


def usd_per_day(price: Price, volume: Floats, token_usd: Floats, seconds: Floats) -> Floats:
    """Return the cost per day in US dollars.

    Args:
        price: The price, of which only the machine time is used.
        volume: Acceptable summaries per day.
        token_usd: US dollars for tokens and calls, per acceptable summary.
        seconds: Machine time per acceptable summary.

    The arrays broadcast against each other.
    """
    total = volume * token_usd
    for part in price.parts:
        if isinstance(part, Hourly):
            total = total + _rented(part, volume, seconds)
        elif isinstance(part, Owned):
            total = total + _owned(part, volume, seconds)
    return total


def _rented(part: Hourly, volume: Floats, seconds: Floats) -> Floats:
    count = machines(volume, seconds)
    always_on = count * DAY
    if part.idle is None:
        up = always_on
    else:
        gap = DAY / volume
        load = np.minimum((seconds + part.idle) / gap, _MOST)
        session = part.cold_start + np.expm1(load) * gap
        # A started interval is billed completely, which adds half an interval on average.
        billed = np.maximum(session, part.minimum) + part.granularity / 2
        up = np.where(count > 1, always_on, np.minimum(1.0, billed / (session + gap)) * DAY)
    return up * part.usd_per_hour / 3600


def _owned(part: Owned, volume: Floats, seconds: Floats) -> Floats:
    count = machines(volume, seconds)
    busy = volume * seconds
    idle = np.maximum(0.0, count * DAY - busy)
    return (
        count * DAY * part.capital_per_second
        + busy * part.energy(part.watts)
        + idle * part.energy(part.idle_watts or 0.0)
    )
