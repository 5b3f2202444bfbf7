"""What the ratio to a baseline would be, were an assumption another one.

Three of them move it most: how long answers are for their prompts, how busy a machine that is
paid by time is kept, and which GPU it is. Each row changes one and keeps the rest as measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from phi2sdk.cost_models import Hourly
from phi2sdk.measure.baseline import CLAIM, Baseline, per_summary
from phi2sdk.measure.breakeven import Option
from phi2sdk.pricebook import PriceBook
from phi2sdk.pricing import Bill, Price, resolve

__all__ = ["GPUS", "RATIOS", "UTILISATIONS", "Row", "sensitivity"]

Factor = Literal["output/input", "utilisation", "GPU"]
RATIOS = (0.0, 0.1, 0.235, 0.5, 1.0)
UTILISATIONS = (0.05, 0.1, 0.25, 0.5, 1.0)
GPUS = ("hf/aws-t4", "hf/aws-l4", "hf/aws-a100-80", "hf/aws-h200")
"""Rented GPUs of the book, from the cheapest hour to the dearest."""


@dataclass(frozen=True, slots=True)
class Row:
    """One assumption, changed.

    Attributes:
        factor: Which assumption.
        target: Whose cost changes.
        setting: What it is changed to, in words.
        value: The same as a number: a ratio, a share, USD per hour.
        times: How many times cheaper than the baseline the target then is.
        seconds: On this GPU a summary may take so long at full use to be as many times cheaper
            as the published claim has it.
    """

    factor: Factor
    target: str
    setting: str
    value: float
    times: float
    seconds: float | None = None


def sensitivity(baseline: Baseline, option: Option, book: PriceBook) -> Iterator[Row]:
    """The rows of one target against a recorded baseline; nothing where it costs nothing."""
    spend = option.spend
    good = float(spend.good.sum())
    base = float(per_summary(baseline, spend).sum()) / good
    read = sum(bill.input or 0 for _, bill in spend.answered) / good
    wrote = sum(bill.output or 0 for _, bill in spend.answered) / good
    if not option.price.by_time:
        yield from _by_length(baseline, option, read, wrote)
        return
    token = 0.0 if spend.token_usd is None else float(spend.token_usd.sum()) / good
    busy = 0.0 if spend.busy_usd is None else float(spend.busy_usd.sum()) / good
    machine = busy - token
    for share in UTILISATIONS:
        if machine > 0:
            times = base / (token + machine / share)
            yield Row("utilisation", option.name, f"{share:.0%}", share, times)
    seconds = float(spend.seconds.sum()) / good
    for id in GPUS:
        rented = resolve({"book": id}, book).parts[0]
        if isinstance(rented, Hourly) and seconds > 0:
            usd = rented.usd_per_hour / 3600
            allowed = base / book.claim(CLAIM).value / usd
            times = base / (token + seconds * usd)
            yield Row("GPU", option.name, id, rented.usd_per_hour, times, allowed)


def _by_length(baseline: Baseline, option: Option, read: float, wrote: float) -> Iterator[Row]:
    """Answers of another length for the same prompts, at a price without machine time."""
    if read == 0:
        return
    measured = wrote / read
    assert baseline.price is not None
    for ratio in sorted({*RATIOS, round(measured, 3)}):
        theirs = _usd(baseline.price, read, ratio, baseline.tokenizer_ratio)
        ours = _usd(option.price, read, ratio)
        if theirs is not None and ours:
            mark = " measured" if ratio == round(measured, 3) else ""
            yield Row("output/input", option.name, f"{ratio:g}{mark}", ratio, theirs / ours)


def _usd(price: Price, read: float, ratio: float, scale: float = 1.0) -> float | None:
    return price.usd(Bill(read * scale, read * ratio * scale))
