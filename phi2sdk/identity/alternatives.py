"""Parse the changes that a run should detect: the ways in which an endpoint may not be the model.

A change is written as ``t=0.8``, ``top_p=0.9``, ``top_k=20``, ``min_p=0.05``, ``int8``, ``int4``,
``int3``, ``template=qa``, ``system=SENTENCE``, ``other=FOLDER``, or as one of them for a share of
the calls: ``route=0.2:int4``. After the share, a folder may also be given without ``other=``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from phi2sdk.errors import ConfigurationError, InvalidRequest
from phi2sdk.identity.score_calls import SYSTEM
from phi2sdk.identity.weights import QUANTISED
from phi2sdk.prompts import FORMATS
from phi2sdk.sampling import Sampling

__all__ = ["Alternative", "parse"]

_KINDS = (
    "t=0.8, top_p=0.9, top_k=20, min_p=0.05, int8, int4, int3, template=qa, system=SENTENCE, "
    "other=FOLDER, route=0.2:int4"
)


@dataclass(frozen=True, slots=True)
class Alternative:
    """A model and its sampling in place of the declared ones.

    Attributes:
        name: The change as it was written.
        weights: ``int8``, ``int4``, ``int3``, or a folder or hub id of other weights; ``None`` for
            those of the model.
        temperature, top_p, top_k, min_p: The sampling.
        template: Another format of the prompt.
        system: A sentence before the prompt.
        share: The share of the calls that is answered in this way.
    """

    name: str
    weights: str | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float = 0.0
    template: str | None = None
    system: str | None = None
    share: float = 1.0

    def sampling(self, max_tokens: int) -> Sampling:
        """Return the sampling parameters of an answer."""
        return Sampling(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
        )

    @property
    def other(self) -> str | None:
        """The folder or hub id of another model; ``None`` for the weights of the model."""
        return None if self.weights in (None, *QUANTISED) else self.weights


def parse(text: str) -> Alternative:
    """Return a change from its form on the command line.

    Raises:
        ConfigurationError: The kind is unknown, or the value is out of range.

    >>> parse("route=0.2:t=0.8").share
    0.2
    """
    kind, _, value = text.partition("=")
    if kind == "route":
        share, colon, rest = value.partition(":")
        if not colon or not rest:
            raise ConfigurationError(
                f"{text!r} needs a share and a change: write it as in route=0.2:int4"
            )
        known = rest in QUANTISED or rest.partition("=")[0] in _VALUES
        whole = parse(rest if known else f"other={rest}")
        return replace(whole, name=text, share=_number(text, share, float, 0.0, 1.0))
    if text in QUANTISED:
        return Alternative(text, weights=text)
    if kind not in _VALUES or not value:
        raise ConfigurationError(f"the change {text!r} is unknown: use one of {_KINDS}")
    made = _VALUES[kind](text, value)
    try:
        made.sampling(1)
    except InvalidRequest as error:
        raise ConfigurationError(f"{text!r}: {error.message}") from error
    return made


def _template(text: str, value: str) -> Alternative:
    if value not in FORMATS:
        raise ConfigurationError(
            f"{text!r} names an unknown template: use one of {', '.join(FORMATS)}"
        )
    return Alternative(text, template=value)


_VALUES: dict[str, Callable[[str, str], Alternative]] = {
    "t": lambda text, value: Alternative(text, temperature=_number(text, value, float, 0.0, 10.0)),
    "top_p": lambda text, value: Alternative(text, top_p=_number(text, value, float, 0.0, 1.0)),
    "top_k": lambda text, value: Alternative(
        text, top_k=int(_number(text, value, int, 0, 1_000_000))
    ),
    "min_p": lambda text, value: Alternative(text, min_p=_number(text, value, float, 0.0, 1.0)),
    "template": _template,
    "system": lambda text, value: Alternative(text, system=SYSTEM.get(text, value)),
    "other": lambda text, value: Alternative(text, weights=value),
}


def _number(
    text: str, value: str, kind: Callable[[str], float], above: float, most: float
) -> float:
    try:
        number = kind(value)
    except ValueError:
        number = above
    if not above < number <= most:
        raise ConfigurationError(
            f"{text!r}: {value!r} must be a number above {above:g} and at most {most:g}"
        )
    return number
