"""What a target costs: spending of a run, cost of one answer, cost at a volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phi2sdk.analysis.metrics import busy_seconds, window_seconds
from phi2sdk.analysis.statistics import Estimate, bootstrap_ratio, bootstrap_ratio_of_ratios
from phi2sdk.completion import Count
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.pricing.models import Hourly, Owned
from phi2sdk.pricing.price import Bill, Price

__all__ = [
    "CostPerSummary",
    "DAY",
    "Spend",
    "acceptable",
    "billed",
    "cost_per_summary",
    "cost_ratio",
    "counted_input",
    "machines",
    "spend_of",
    "usd_per_day",
    "why_unknown",
]

DEFINITION = (
    "All attributable spend, failures, retries and the warm-up included, over acceptable answers: "
    "no error, not filtered, not empty after cutting. Token-priced: tokens and calls alone. Busy "
    "time: a machine is paid for the seconds in which a request was under way. Idle-inclusive: it "
    "is paid while it idles too, for the whole window or at its stated utilisation."
)


@dataclass(frozen=True, slots=True)
class CostPerSummary:
    """USD per acceptable answer of one target.

    Attributes:
        per_summary: What the price says: tokens, requests, machine seconds, together.
        token_priced: Tokens and calls alone.
        busy: With machine time paid for the seconds used only.
        reserved: With the machine's idle time paid too. Without an interval where it is paid
            for the window, of which there is one.
        warmup_usd: Of the spend, what the warm-up cost, in all.
        unknown: Why a number above is ``None``, by its name.
        estimated: Whether a token count behind it is an estimate.
    """

    per_summary: Estimate
    token_priced: Estimate | None
    busy: Estimate | None
    reserved: Estimate | None
    warmup_usd: float
    unknown: Mapping[str, str] = field(default_factory=dict)
    estimated: bool = False


def cost_per_summary(
    price: Price | None,
    records: Sequence[Record],
    prompts: Callable[[str], str],
    tokenizer: ReferenceTokenizer,
    *,
    sequential: bool,
    warmups: Sequence[Record] = (),
    spend: Spend | None = None,
) -> CostPerSummary | None:
    """The cost of one target; ``None`` as :func:`why_unknown` says.

    Args:
        price: The target's.
        records: All its records, failures included.
        prompts: The prompt's text by its id.
        tokenizer: Counts what the provider did not.
        sequential: Whether the target idled while others were asked.
        warmups: Its records from before the run, which are paid for too.
        spend: Of all these, where somebody has added it up already.
    """
    if price is None or not any(acceptable(record) for record in records):
        return None
    spend = spend or spend_of(price, records, prompts, tokenizer, warmups)
    if spend is None:
        return None
    per_summary = _per_summary(spend, spend.usd, price.usd(spend.warmup))
    assert per_summary is not None
    window = None if sequential else window_seconds(records)
    return CostPerSummary(
        per_summary=per_summary,
        token_priced=_per_summary(spend, spend.token_usd, price.token_priced(spend.warmup)),
        busy=_per_summary(spend, spend.busy_usd, price.busy(spend.warmup)),
        reserved=_reserved(price, spend, per_summary, window),
        warmup_usd=price.usd(spend.warmup) or 0.0,
        unknown=_unknown(price, sequential=sequential),
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
    """B's cost per summary over A's, bootstrapped over the prompts that both were asked.

    ``None`` where one of the two has no acceptable answer, or A's cost is nothing. The warm-up is
    left out: it belongs to no prompt.
    """
    asked = set(b.prompts)
    both = [prompt for prompt in a.prompts if prompt in asked]
    columns = [a.usd, a.good, b.usd, b.good]
    places = [a.at(both)] * 2 + [b.at(both)] * 2
    return bootstrap_ratio_of_ratios(
        *(c[at].tolist() for c, at in zip(columns, places, strict=True))
    )


def _per_summary(spend: Spend, usd: Floats | None, warmup: float | None) -> Estimate | None:
    """Spend over acceptable answers; every prompt bears its part of the warm-up."""
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
        return stated  # every machine's idle time is in its stated utilisation
    usd = price.reserved(spend.total, window)
    if usd is None:
        return None
    warmup: Bill = spend.warmup
    return Estimate((usd + (price.usd(warmup) or 0.0)) / float(spend.good.sum()))


def _for_a_window(price: Price) -> bool:
    return any(isinstance(part, Hourly) and part.utilisation == 1 for part in price.parts)


def _unknown(price: Price, *, sequential: bool) -> dict[str, str]:
    reasons = {}
    if price.token_priced(Bill(0, 0)) is None:
        reasons["token_priced"] = "the price has no part by token or call"
    if not price.by_time:
        reasons["busy"] = reasons["reserved"] = "the price has no machine time"
    elif sequential and _for_a_window(price):
        reasons["reserved"] = (
            "under sequential load most of the window is other targets' time: state a "
            "utilisation, or ask for a volume"
        )
    return reasons


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


DAY = 86400.0
_MOST = 50.0
"""exp(50) seconds is longer than any day: it never scales to zero."""


def machines(volume: Floats, seconds: Floats) -> Floats:
    """How many machines a volume keeps busy, at least one."""
    # A product of floats may lie a hair above the whole number that it is meant to be.
    return np.maximum(1.0, np.ceil(volume * seconds / DAY * (1 - 1e-12)))


def usd_per_day(price: Price, volume: Floats, token_usd: Floats, seconds: Floats) -> Floats:
    """US dollars a day.

    Args:
        price: Its machine time; what it says of tokens and calls is in ``token_usd``.
        volume: Acceptable summaries a day.
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
        # A started interval is billed whole: half of one more, on average.
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
