"""A plan: calls, tokens and dollars for each thing that a run should be able to find."""

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

INSTRUMENTS = 4
"""Score, line-up, routing and MMD share the level."""


@dataclass(frozen=True, slots=True)
class PlanSetting:
    """How sure the plan is to be.

    Attributes:
        power: The probability that what is there is found.
        alpha: The probability that any honest target is accused.
        targets: That are tested in one run.

    Raises:
        ConfigurationError: Out of range.
    """

    power: float = POWER
    alpha: float = ALPHA
    targets: int = 1

    def __post_init__(self) -> None:
        for name in ("power", "alpha"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)!r} must be between 0 and 1")
        if self.targets < 1:
            raise ConfigurationError(f"targets={self.targets!r}: at least one is tested")


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """What it takes to find one alternative.

    Attributes:
        name: As it was asked for.
        calls: ``None``: more than can be planned.
        low, high: Where the calls likely lie, given how small the pilot was; ``None``: not known,
            or no bound.
        output_tokens, input_tokens: Of all calls together.
        usd: At the price that was given.
        kl: From the reference, nats a token, where it is known.
        instrument: Which finds it most often alone.
        power: By instrument, and ``all`` together.
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
    """All plans, and what they rest on.

    Attributes:
        plans: In the order in which they were asked for.
        setting: How sure they are.
        source: What they are computed from.
        entropy: Nats a token of the reference's answers.
        price: Source and date of the price; ``None`` without one.
    """

    plans: Sequence[PlannedCalls]
    setting: PlanSetting
    source: str
    entropy: float
    price: str | None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def notes(self) -> list[str]:
        """What to know of the figures, in sentences."""
        lines = [
            f"Found with a probability of {self.setting.power:.0%}, at a level of "
            f"{self.setting.alpha:g} over {self.setting.targets} "
            f"{'target' if self.setting.targets == 1 else 'targets'}; {self.source}.",
            f"The answers have {self.entropy:.2f} nats a token"
            + (
                ": nearly certain, so they tell little; ask something open."
                if self.entropy < 0.3
                else "."
            ),
        ]
        if self.price is not None:
            lines.append(f"Price: {self.price}.")
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
    """Plans from pilot texts, which the local weights write.

    Raises:
        ConfigurationError: An alternative is unknown or does not apply; weights cannot be used.
        OutOfMemory: They do not fit.
    """
    from phi2sdk.identity.pilot import Setting, pilot
    from phi2sdk.identity.power_analysis import calls_needed

    if calls < 32:
        raise ConfigurationError(f"a pilot of {calls} texts says nothing: use 32 or more")
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
    """Plans from a run's calibration, by formula, for what stands in its line-up.

    The log-likelihood ratio of a token is taken as normal with variance ``2 KL``, and must exceed
    that of as many control tokens by the normal quantile of the level.

    Raises:
        ConfigurationError: The run was not calibrated, or its line-up lacks an alternative.
    """
    from phi2sdk.measure.folder import RunFolder

    run = RunFolder(folder).read()
    calibration = (run.identity or {}).get("calibration")
    if not calibration or not calibration["tokens"]:
        raise ConfigurationError(
            f"{folder} has no calibration: compare with --identity 100 and local weights, or "
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
                f"the run's line-up has no {name}: it has {', '.join(sorted(known))}; without "
                "--run the local weights find out"
            )
        calls = None if kl < 1e-12 else max(1, round(needed**2 / kl / per_call))
        plans.append(_planned(name, calls, (None, None), per_call, None, price, kl, "line-up", {}))
    source = f"by formula, from the calibration in {folder}"
    return Plans(plans, setting, source, calibration["entropy"], _source(price))


def _candidate(name: str) -> str:
    """An alternative as the line-up calls it."""
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
