"""What a summary costs: all that was spent over what was acceptable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from phi2sdk.cost_models import Hourly
from phi2sdk.measure.metrics.throughput import window_seconds
from phi2sdk.measure.records import Record
from phi2sdk.measure.spend import Floats, Spend, acceptable, billed, counted_input, spend_of
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
    """Why a target has no cost per summary."""
    if price is None:
        return "no price is given"
    if not records:
        return "nothing was asked"
    if not any(acceptable(record) for record in records):
        return "no answer was acceptable"
    return "something that is charged for was not measured"


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
