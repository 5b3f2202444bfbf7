"""Plan the calls, tokens and dollars that a run needs to detect each of several changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from phi2sdk.errors import ConfigurationError
from phi2sdk.identity.alternatives import parse
from phi2sdk.identity.verdict import ALPHA, POWER
from phi2sdk.identity.weights import Weights
from phi2sdk.pricing.price import Bill, Price

__all__ = ["PlanSetting", "PlannedCalls", "Plans", "from_run", "from_weights"]

INSTRUMENTS = 5
"""The six tests of a target are correlated: they share the level as about five independent tests do
(5.2 to 5.4 on answers of the bundled model, 96 calls and 192 of the control)."""


@dataclass(frozen=True, slots=True)
class PlanSetting:
    """The error rates of a plan.

    Attributes:
        power: The probability that a change is detected.
        alpha: The probability that any honest target is rejected.
        targets: The number of targets that are tested in one run.

    Raises:
        ConfigurationError: A value is out of range.
    """

    power: float = POWER
    alpha: float = ALPHA
    targets: int = 1

    def __post_init__(self) -> None:
        for name in ("power", "alpha"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)!r} must be between 0 and 1")
        if self.targets < 1:
            raise ConfigurationError(f"targets={self.targets!r} must be 1 or more")


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """The number of calls that detects one change, and their cost.

    Attributes:
        name: The change as it was requested.
        calls: The number of calls; ``None`` if it is larger than can be planned.
        low, high: The likely range of that number, given the size of the pilot; ``None`` if it is
            not known or has no bound.
        output_tokens, input_tokens: The tokens of all calls together.
        usd: Their cost at the given price.
        kl: The divergence from the reference in nats per token, if it is known.
        instrument: The test that detects the change most often alone.
        power: The power by test, and of ``all`` together.
    """

    name: str
    calls: int | None
    low: int | None
    high: int | None
    output_tokens: float | None
    input_tokens: float | None
    usd: float | None
    kl: float | None
    instrument: str | None
    power: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Plans:
    """All plans and their source.

    Attributes:
        plans: The plans in the requested order.
        setting: Their error rates.
        source: The data from which they are computed.
        entropy: The entropy of the reference's answers in nats per token.
        price: The source and date of the price; ``None`` without one.
    """

    plans: Sequence[PlannedCalls]
    setting: PlanSetting
    source: str
    entropy: float
    price: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the plans as plain data."""
        return asdict(self)

    def notes(self) -> list[str]:
        """Return the assumptions of the figures in sentences."""
        lines = [
            f"Each number of calls detects its change with a probability of "
            f"{self.setting.power:.0%}. The probability that any of {self.setting.targets} "
            f"unmodified {'target' if self.setting.targets == 1 else 'targets'} is rejected is "
            f"{self.setting.alpha:g} or less. The figures are computed {self.source}. They hold "
            "for these changes only.",
            f"The answers have an entropy of {self.entropy:.2f} nats per token"
            + (
                ", so they are almost certain and carry little information. Use open-ended prompts."
                if self.entropy < 0.3
                else "."
            ),
        ]
        if self.price is not None:
            lines.append(f"The price is from {self.price}.")
        return lines


def from_weights(
    weights: Weights,
    detect: Sequence[str],
    setting: PlanSetting,
    price: Price | None,
    *,
    prompts: Sequence[str],
    format: str,
    max_tokens: int,
    calls: int,
    seed: int,
    notice: Callable[[str], None] | None = None,
) -> Plans:
    """Return plans from pilot texts that the local weights write.

    Raises:
        ConfigurationError: A change is unknown or does not apply, or weights cannot be used.
        OutOfMemory: The weights do not fit into memory.
    """
    from phi2sdk.identity.pilot import Setting, pilot
    from phi2sdk.identity.power_analysis import calls_needed

    if calls < 32:
        raise ConfigurationError(f"a pilot of {calls} texts is too small: use 32 or more")
    alternatives = [parse(text) for text in detect]
    plans, entropy = [], 0.0
    for alternative in alternatives:
        if notice is not None:
            notice(f"plan: {alternative.name} ...")
        found = pilot(
            weights, alternative, Setting(prompts, format, max_tokens, calls, seed), notice=notice
        )
        need = calls_needed(
            found.parts,
            found.control,
            power=setting.power,
            alpha=setting.alpha,
            targets=setting.targets,
            instruments=INSTRUMENTS,
            seed=seed,
        )
        own = found.control[weights.honest[0]].calls
        entropy = float(own.entropy.sum() / own.tokens.sum())
        alone = {name: share for name, share in need.power.items() if name != "all"}
        plans.append(
            _planned(
                alternative.name,
                need.calls,
                (need.low, need.high),
                need.tokens,
                found.input,
                price,
                found.kl,
                max(alone, key=alone.__getitem__),
                need.power,
            )
        )
    source = f"from {calls} pilot texts of each author by {weights.label}"
    return Plans(plans, setting, source, entropy, _source(price))


def from_run(
    folder: Path, detect: Sequence[str], setting: PlanSetting, price: Price | None
) -> Plans:
    """Return plans from the control answers of a run, by formula, for its candidates.

    The log-likelihood ratio of a token is taken as normal with variance ``2 KL``, and must exceed
    that of as many control tokens by the normal quantile of the level.

    Raises:
        ConfigurationError: The run has no control answers, or a change is not a candidate of it.
    """
    from phi2sdk.measure.folder import RunFolder

    run = RunFolder(folder).read()
    calibration = (run.identity or {}).get("calibration")
    if not calibration or not calibration["tokens"]:
        raise ConfigurationError(
            f"{folder} has no control answers: compare with --identity 100 and local weights, or "
            "leave --run out"
        )
    known: Mapping[str, float] = calibration["candidates"]
    per_call = calibration["tokens"] / max(1, calibration["calls"])
    normal = NormalDist()
    level = setting.alpha / (setting.targets * INSTRUMENTS * max(1, len(known)))
    needed = normal.inv_cdf(1 - level) + normal.inv_cdf(setting.power)
    plans = []
    for name in detect:
        kl = known.get(_candidate(name))
        if kl is None:
            raise ConfigurationError(
                f"{name} is not a candidate of the run, which has {', '.join(sorted(known))}: "
                "leave --run out to plan with local weights"
            )
        calls = None if kl < 1e-12 else max(1, round(needed**2 / kl / per_call))
        plans.append(_planned(name, calls, (None, None), per_call, None, price, kl, "line-up", {}))
    source = f"by a formula from the control answers in {folder}"
    return Plans(plans, setting, source, calibration["entropy"], _source(price))


def _candidate(name: str) -> str:
    """Return the name of a change as a candidate."""
    return f"T={name[2:]}" if name.startswith("t=") else name


def _planned(
    name: str,
    calls: int | None,
    likely: tuple[int | None, int | None],
    tokens: float,
    prompt: float | None,
    price: Price | None,
    kl: float | None,
    instrument: str | None,
    power: Mapping[str, float],
) -> PlannedCalls:
    if calls is None:
        return PlannedCalls(name, None, None, None, None, None, None, kl, None, power)
    output = calls * tokens
    read = None if prompt is None else calls * prompt
    usd = None
    if price is not None:
        bill = Bill(
            input=None if read is None else round(read), output=round(output), requests=calls
        )
        usd = price.usd(bill)
    return PlannedCalls(name, calls, *likely, output, read, usd, kl, instrument, power)


def _source(price: Price | None) -> str | None:
    return None if price is None else f"{price.source}, {price.date}"
