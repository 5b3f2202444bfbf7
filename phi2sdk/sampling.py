"""Sampling parameters, and their names and values on each route.

A :class:`Dialect` is data: for each parameter of :class:`Sampling` its name on the route, and the
value that turns it off. :func:`translate` turns a sampling into the keys of a route and records
what happened to each parameter, so that none is dropped without a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal, TypedDict

from phi2sdk.errors import InvalidRequest, UnsupportedParameter

__all__ = [
    "OMIT",
    "Dialect",
    "Fate",
    "ParameterFate",
    "Rule",
    "Sampling",
    "SamplingParameters",
    "translate",
]

JSON = Any  # what json.dumps takes; the wire's own value type


_TOP_K = "a whole number, at least 1, or None for off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling parameters, with the same meaning on every backend.

    Attributes:
        max_tokens: Largest number of tokens to generate (1 or more).
        temperature: Divisor of the logits; 0 takes the most likely token (greedy).
        top_p: Keeps the smallest set of tokens with at least this probability mass; 1 is off.
        top_k: Keeps the ``top_k`` most likely tokens; ``None`` is off.
        min_p: Keeps tokens with at least this share of the highest probability; 0 is off.
        repetition_penalty: Divides (multiplies) positive (negative) logits of tokens that occur in
            the prompt or the answer (Keskar et al. 2019, CTRL); 1 is off.
        seed: Makes a sampled answer repeatable if the route supports it; ``None`` sends no seed.
        stop: The answer ends before the first of these and of the stops of the prompt format.

    Raises:
        InvalidRequest: A value is outside of its range.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", _as_stops(self.stop))
        for name, holds, rule in (
            (
                "max_tokens",
                _whole(self.max_tokens) and self.max_tokens >= 1,
                "a whole number, at least 1",
            ),
            (
                "temperature",
                _number(self.temperature) and self.temperature >= 0,
                "a number, 0 or more",
            ),
            (
                "top_p",
                _number(self.top_p) and 0 < self.top_p <= 1,
                "a number above 0 and at most 1",
            ),
            ("top_k", self.top_k is None or (_whole(self.top_k) and self.top_k >= 1), _TOP_K),
            ("min_p", _number(self.min_p) and 0 <= self.min_p < 1, "a number from 0 to below 1"),
            (
                "repetition_penalty",
                _number(self.repetition_penalty) and self.repetition_penalty > 0,
                "a number above 0",
            ),
            (
                "seed",
                self.seed is None or (_whole(self.seed) and 0 <= self.seed < 2**63),
                "a whole number from 0 to 2**63 - 1",
            ),
            ("stop", all(isinstance(s, str) and s for s in self.stop), "non-empty strings"),
        ):
            if not holds:
                raise InvalidRequest(
                    f"{name}={getattr(self, name)!r} must be {rule}", parameter=name
                )

    @property
    def greedy(self) -> bool:
        """True if the most likely token is chosen each time."""
        return self.temperature == 0

    def is_neutral(self, name: str) -> bool:
        """Return whether a parameter has the value that turns it off."""
        return name in _NEUTRAL and getattr(self, name) == _NEUTRAL[name]


class SamplingParameters(TypedDict, total=False):
    """The fields of :class:`Sampling`, as keyword arguments of a client's methods."""

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int | None
    min_p: float
    repetition_penalty: float
    seed: int | None
    stop: str | Iterable[str]


PARAMETERS: tuple[str, ...] = tuple(f.name for f in fields(Sampling))


def refuse_unknown_parameters(names: Iterable[str]) -> None:
    """Raise an error that suggests the nearest name for a sampling parameter that does not exist.

    Raises:
        InvalidRequest: One of the names is not a field of :class:`Sampling`.
    """
    for name in names:
        if name not in PARAMETERS:
            near = get_close_matches(name, PARAMETERS, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InvalidRequest(
                f"there is no sampling parameter {name}.{hint} "
                f"The parameters are {', '.join(PARAMETERS)}"
            )


_NEUTRAL: Mapping[str, object] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": None,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "seed": None,
    "stop": (),
}

Fate = Literal["sent", "renamed", "emulated", "neutral", "unsupported", "clipped"]


@dataclass(frozen=True, slots=True)
class ParameterFate:
    """Record of what happened to one parameter in a request.

    Attributes:
        name: The parameter of :class:`Sampling`.
        value: Its value there.
        fate: ``sent`` under its own name; ``renamed``; ``emulated`` by other keys or in the client;
            ``neutral``: off, and left out since the route has no value for off;
            ``unsupported``: not sent (only with ``on_unsupported="warn"``);
            ``clipped``: the server reduced ``max_tokens``, as its answer shows.
        wire: The keys of the request for this parameter.
        note: An explanation.
    """

    name: str
    value: object
    fate: Fate
    wire: Mapping[str, JSON] = field(default_factory=dict)
    note: str = ""


class _Omit:
    def __repr__(self) -> str:
        return "OMIT"


OMIT = _Omit()
"""As a rule's ``neutral``: the route has no value for 'off', so the key is left out."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Name and value of one parameter on a route.

    Attributes:
        key: Its name on the route; ``None``: the route does not support it.
        neutral: Value that is sent when the parameter is off; :data:`OMIT` leaves the key out.
        convert: Converts the value to that of the route.
        limit: Largest number of entries that are sent (stops); the client cuts at the others.
        along: Further keys that the parameter needs to have the same meaning.
    """

    key: str | None = None
    neutral: JSON | _Omit = OMIT
    convert: Callable[[Any], JSON] | None = None
    limit: int | None = None
    along: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Names and values of the parameters of a :class:`Sampling` on a route.

    Attributes:
        name: Name of the route in documentation and receipts (``azure.score``, ``hf.tgi``, ...).
        rules: One :class:`Rule` for each parameter; a parameter without one is not supported.
        greedy: The keys for greedy decoding on a route that refuses temperature 0; they replace
            temperature, top_p, top_k, min_p and seed, which have no effect then.
        sampled: Further keys of a sampled request (``do_sample``).
        advice: Further sentences for the error about a parameter that the route does not have.
    """

    name: str
    rules: Mapping[str, Rule]
    greedy: Mapping[str, JSON] | None = None
    sampled: Mapping[str, JSON] = field(default_factory=dict)
    advice: str = ""


_MOOT_WHEN_GREEDY = ("top_p", "top_k", "min_p", "seed")


def translate(
    sampling: Sampling,
    dialect: Dialect,
    *,
    stops: tuple[str, ...],
    on_unsupported: Literal["raise", "warn"] = "raise",
) -> tuple[dict[str, JSON], tuple[ParameterFate, ...]]:
    """Return a sampling as the keys of a route, and what happened to each parameter.

    Args:
        sampling: The sampling parameters.
        dialect: The names and values of the route.
        stops: All stops of the request, including those of the prompt format.
        on_unsupported: What happens to a parameter that is on and that the route does not support:
            ``raise``, or ``warn`` to leave it out and record this.

    Raises:
        UnsupportedParameter: There is such a parameter, with ``on_unsupported="raise"``.
    """
    fates = tuple(
        _fate(name, sampling, dialect, stops, strict=on_unsupported == "raise")
        for name in PARAMETERS
    )
    wire: dict[str, JSON] = {}
    for fate in fates:
        wire.update(fate.wire)
    return wire, fates


def _fate(
    name: str, sampling: Sampling, dialect: Dialect, stops: tuple[str, ...], *, strict: bool
) -> ParameterFate:
    value = stops if name == "stop" else getattr(sampling, name)
    rule = dialect.rules.get(name, Rule())
    if name == "stop":
        return _stop_fate(stops, rule)
    by_flag = sampling.greedy and dialect.greedy is not None
    if name == "temperature" and (by_flag or rule.key is not None):
        return _temperature_fate(sampling, dialect, rule)
    if by_flag and name in _MOOT_WHEN_GREEDY:
        note = "no effect in greedy decoding"
        return ParameterFate(name, value, "neutral", note=note)
    if sampling.is_neutral(name):
        if rule.key is None or rule.neutral is OMIT:
            return ParameterFate(name, value, "neutral", note="off: left out")
        wire = {rule.key: rule.neutral}
        return ParameterFate(name, value, _sent_or_renamed(name, rule.key), wire, "off")
    if rule.key is not None:
        wire = {rule.key: rule.convert(value) if rule.convert else value, **rule.along}
        return ParameterFate(name, value, _sent_or_renamed(name, rule.key), wire)
    if sampling.greedy and name in _MOOT_WHEN_GREEDY:
        note = "no effect in greedy decoding"
        return ParameterFate(name, value, "neutral", note=note)
    if strict:
        able = [n for n in PARAMETERS if dialect.rules.get(n, Rule()).key is not None]
        advice = f". {dialect.advice}" if dialect.advice else ""
        raise UnsupportedParameter(
            f"{name}={value!r} cannot be sent: the route {dialect.name} has no such parameter (it "
            f"takes {', '.join(able)}). Leave it out, choose another route, or pass "
            f'on_unsupported="warn" to leave it out{advice}',
            parameter=name,
        )
    return ParameterFate(name, value, "unsupported", note=f"{dialect.name} has no such parameter")


def _temperature_fate(sampling: Sampling, dialect: Dialect, rule: Rule) -> ParameterFate:
    by_flag = sampling.greedy and dialect.greedy is not None
    name, value = "temperature", sampling.temperature
    if rule.key is None or by_flag:
        return ParameterFate(name, value, "emulated", dict(dialect.greedy or {}), "greedy")
    said = rule.convert(value) if rule.convert else value
    wire = {rule.key: said, **dialect.sampled}
    return ParameterFate(name, value, _sent_or_renamed(name, rule.key), wire)


def _stop_fate(stops: tuple[str, ...], rule: Rule) -> ParameterFate:
    """Return the record of the stops. They are sent to save tokens; the client always cuts."""
    if not stops:
        return ParameterFate("stop", stops, "neutral", note="none")
    if rule.key is None:
        return ParameterFate("stop", stops, "emulated", note="cut on our side")
    sent = list(stops[: rule.limit])
    note = "cut on our side as well"
    if len(sent) < len(stops):
        note = f"{len(sent)} of {len(stops)} sent, the route takes no more; all cut on our side"
    return ParameterFate("stop", stops, _sent_or_renamed("stop", rule.key), {rule.key: sent}, note)


def _sent_or_renamed(name: str, key: str) -> Fate:
    return "sent" if name == key else "renamed"


def _as_stops(value: object) -> tuple[str, ...]:
    """Return stops given as one string or several."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, Iterable) else (str(value),)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    # NaN fails every comparison below, and infinity is refused here.
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    )
