"""Compute how many times cheaper a target is than a baseline, and the effect of assumptions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from phi2sdk.analysis.breakeven import Option, cost_per_summary_at, over_prompts
from phi2sdk.analysis.cost import Floats, Spend
from phi2sdk.analysis.statistics import Estimate, bootstrap_ratio, bootstrap_ratio_of_ratios
from phi2sdk.errors import ConfigurationError
from phi2sdk.pricing import genai_prices as genai_source
from phi2sdk.pricing.book import PriceBook
from phi2sdk.pricing.models import Hourly
from phi2sdk.pricing.price import Bill, Price, resolve

CLAIM = "phi-2/times-cheaper-than-gpt-4"
"""The id of the published ratio in the price book."""

_ORIGINAL_MODEL, _ORIGINAL_TOKENS = "anyscale/llama-2-70b", "llama-2-70b/tokens"
_GPT4 = "openai/gpt-4"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The model or target that the targets are compared with.

    Attributes:
        name: The name that was given.
        price: The recorded price per token; ``None`` if it is a target of the run.
        note: The note in the price book.
        tokenizer_ratio: The baseline's tokens per measured token, as stated.
    """

    name: str
    price: Price | None
    note: str = ""
    tokenizer_ratio: float = 1.0

    @property
    def live(self) -> bool:
        """Return whether the baseline is a target of the run."""
        return self.price is None


def find_baseline(
    name: str, book: PriceBook, targets: Iterable[str] = (), *, tokenizer_ratio: float = 1.0
) -> Baseline:
    """Find a baseline by the name of a target, or of a model with or without its provider.

    Raises:
        ConfigurationError: The name is unknown or ambiguous, or the ratio is not greater than 0.
    """
    if not 0 < tokenizer_ratio < float("inf"):
        raise ConfigurationError(f"tokenizer ratio {tokenizer_ratio:g} must be above 0")
    if name in targets:
        return Baseline(name, None)
    if name.startswith(genai_source.PREFIX):
        return Baseline(name, resolve({"book": name}, book), "", tokenizer_ratio)
    found = [id for id in book.models() if name in (id, id.partition("/")[2])]
    if len(found) != 1:
        known = ", ".join(found or book.models())
        problem = "is several models" if found else "is neither a target nor in the price book"
        raise ConfigurationError(f"the baseline {name!r} {problem}: use one of {known}")
    quote = book.quote(f"{found[0]}/input", "1M tokens")
    note = quote.note if quote else ""
    return Baseline(name, resolve({"book": found[0]}, book), note, tokenizer_ratio)


def per_summary(baseline: Baseline, spend: Spend) -> Floats:
    """Return the cost of a recorded baseline for a target's acceptable answers, by prompt."""
    assert baseline.price is not None
    usd = np.zeros(len(spend.prompts))
    ratio = baseline.tokenizer_ratio
    for at, bill in spend.answered:
        tokens = Bill((bill.input or 0) * ratio, (bill.output or 0) * ratio)
        usd[at] += baseline.price.usd(tokens) or 0.0
    return usd


def times_cheaper(baseline: Baseline, option: Option) -> Estimate | None:
    """Return the ratio of a recorded baseline's cost to everything spent on a target.

    It is ``None`` if the target costs nothing.
    """
    spend = option.spend
    warmup = option.price.usd(spend.warmup) or 0.0
    paid = spend.usd + warmup / len(spend.usd)
    return bootstrap_ratio(per_summary(baseline, spend).tolist(), paid.tolist())


def times_cheaper_at(baseline: Baseline, option: Option, volume: float) -> Estimate | None:
    """Return the ratio with the target's machines paid for whole days at ``volume``."""
    base, good = per_summary(baseline, option.spend), option.spend.good

    def times(weights: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            ours = cost_per_summary_at(option, volume, weights)
            return np.where(ours > 0, (weights @ base) / (weights @ good) / ours, np.inf)

    return over_prompts(len(good), times)


def times_cheaper_than(baseline: Option, option: Option) -> Estimate | None:
    """Return the ratio of a live baseline's cost per summary to a target's, on common prompts."""
    asked = set(option.spend.prompts)
    both = [prompt for prompt in baseline.spend.prompts if prompt in asked]
    ours, theirs = option.spend.at(both), baseline.spend.at(both)
    return bootstrap_ratio_of_ratios(
        option.spend.usd[ours].tolist(),
        option.spend.good[ours].tolist(),
        baseline.spend.usd[theirs].tolist(),
        baseline.spend.good[theirs].tolist(),
    )


def published_ratio(book: PriceBook, output_per_input: float) -> float:
    """Return the ratio of the original source: GPT-4 and Llama-2-70b with its assumptions.

    It is ``(p_in + p_out r) / (1.19 (q_in + q_out r))`` with the prices p of GPT-4 and q of Llama
    at that time, and 1.19 tokens of Llama per token of GPT-4.

    Args:
        book: The price book, with both prices and the factor.
        output_per_input: The number r of output tokens per input token.
    """
    tokens = Bill(1e6, 1e6 * output_per_input)
    theirs = resolve({"book": _GPT4}, book).usd(tokens)
    ours = resolve({"book": _ORIGINAL_MODEL}, book).usd(tokens)
    assert theirs is not None
    assert ours is not None
    return theirs / (book.claim(_ORIGINAL_TOKENS).value * ours)


Factor = Literal["output/input", "utilisation", "GPU"]
RATIOS = (0.0, 0.1, 0.235, 0.5, 1.0)
UTILISATIONS = (0.05, 0.1, 0.25, 0.5, 1.0)
GPUS = ("hf/aws-t4", "hf/aws-l4", "hf/aws-a100-80", "hf/aws-h200")
"""Rented GPUs of the price book, beginning with the lowest price per hour."""


@dataclass(frozen=True, slots=True)
class SensitivityRow:
    """The cost ratio with one assumption changed.

    Attributes:
        factor: The assumption.
        target: The target whose cost changes.
        setting: The changed setting in words.
        value: The changed setting as a number: a ratio, a share, or US dollars per hour.
        times: The factor by which the target is then cheaper than the baseline.
        seconds: Time per summary on this GPU, at full utilization, that gives the published ratio.
    """

    factor: Factor
    target: str
    setting: str
    value: float
    times: float
    seconds: float | None = None


def sensitivity(baseline: Baseline, option: Option, book: PriceBook) -> Iterator[SensitivityRow]:
    """Return the rows of one target and a recorded baseline, none if the target costs nothing."""
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
            yield SensitivityRow("utilisation", option.name, f"{share:.0%}", share, times)
    seconds = float(spend.seconds.sum()) / good
    for id in GPUS:
        rented = resolve({"book": id}, book).parts[0]
        if isinstance(rented, Hourly) and seconds > 0:
            usd = rented.usd_per_hour / 3600
            allowed = base / book.claim(CLAIM).value / usd
            times = base / (token + seconds * usd)
            yield SensitivityRow("GPU", option.name, id, rented.usd_per_hour, times, allowed)


def _by_length(
    baseline: Baseline, option: Option, read: float, wrote: float
) -> Iterator[SensitivityRow]:
    """Return the ratio for answers of another length, at a price without machine time."""
    if read == 0:
        return
    measured = wrote / read
    assert baseline.price is not None
    for ratio in sorted({*RATIOS, round(measured, 3)}):
        theirs = _usd(baseline.price, read, ratio, baseline.tokenizer_ratio)
        ours = _usd(option.price, read, ratio)
        if theirs is not None and ours:
            mark = " measured" if ratio == round(measured, 3) else ""
            yield SensitivityRow(
                "output/input", option.name, f"{ratio:g}{mark}", ratio, theirs / ours
            )


def _usd(price: Price, read: float, ratio: float, scale: float = 1.0) -> float | None:
    return price.usd(Bill(read * scale, read * ratio * scale))
