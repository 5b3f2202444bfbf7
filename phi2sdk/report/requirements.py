"""Requirements: ``PATH OP NUMBER`` over the report's own paths, never evaluated as code.

``targets.azure.latency.ttft.p95 < 0.5`` names a number with an interval. It holds where the whole
interval is on the right side, fails where it is on the wrong one, and is *not shown* where the
interval straddles the bound or there is none: not shown is a failure.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Literal, Self, get_args, get_origin
from xml.etree import ElementTree

from pydantic import BaseModel

from phi2sdk.errors import ConfigurationError
from phi2sdk.report.schema import (
    Findings,
    Interval,
    QuantileReport,
    Report,
    RequirementReport,
)
from phi2sdk.text import for_terminal

__all__ = ["Requirement", "evaluate", "junit", "requirement_line"]

Operator = Literal["<", "<=", ">", ">=", "==", "!="]
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_FORM = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|==|!=|<|>)\s*(\S+?)\s*")
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(%|ms|s)?")
_BY_NAME = frozenset(
    {"targets", "pairs", "break_even", "times_cheaper", "at_volume", "usd_per_summary"}
)
"""Fields whose keys are the names of targets or of pairs."""
_SCALE = {"%": 0.01, "ms": 0.001, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement.

    Attributes:
        text: As it was written.
        path: Of the report, its steps joined by dots.
        operator: One of ``< <= > >= == !=``.
        bound: What is held against it; ``true`` and ``false`` are 1 and 0.
    """

    text: str
    path: str
    operator: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """A requirement from ``PATH OP NUMBER``; the number may end in ``%``, ``ms`` or ``s``.

        Raises:
            ConfigurationError: It is not of that form.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ConfigurationError(
                f"requirement {text!r}: write PATH OP NUMBER, as in "
                "'targets.azure.latency.e2e.p95 < 2', with one of < <= > >= == !="
            )
        path, op, number = match.groups()
        if number in ("true", "false"):
            return cls(text.strip(), path, op, float(number == "true"))
        value = _NUMBER.fullmatch(number)
        if value is None:
            raise ConfigurationError(f"requirement {text!r}: {number!r} is no number")
        bound = float(value.group(1)) * _SCALE.get(value.group(2) or "s", 1.0)
        return cls(text.strip(), path, op, bound)

    def check(self, targets: Sequence[str]) -> None:
        """See whether a report on these targets has the path.

        Raises:
            ConfigurationError: It has not; the message lists near ones.
        """
        pairs = [f"{a}:{b}" for a, b in permutations(targets, 2)]
        known = set(_paths(Report, targets, pairs))
        if self.path not in known:
            near = difflib.get_close_matches(self.path, sorted(known), n=3, cutoff=0.5)
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise ConfigurationError(
                f"requirement {self.text!r}: no report has {self.path!r}{hint}"
            )


def evaluate(requirement: Requirement, report: Findings) -> RequirementReport:
    """Whether a requirement holds in a report.

    Raises:
        ConfigurationError: No report has its path.
    """
    requirement.check(list(report.targets))
    found = _look_up(report, requirement.path)
    if isinstance(found, Interval | QuantileReport):
        return _judge_interval(requirement, found)
    if isinstance(found, bool | int | float):
        holds = _COMPARE[requirement.operator](float(found), requirement.bound)
        return _said(requirement, "holds" if holds else "fails", float(found))
    return _said(requirement, "not shown", None, reason="the report has no such number")


def _judge_interval(
    requirement: Requirement, found: Interval | QuantileReport
) -> RequirementReport:
    compare, bound = _COMPARE[requirement.operator], requirement.bound
    value, low, high = found.value, found.low, found.high
    if value is None:
        above = found.censored_above if isinstance(found, QuantileReport) else None
        if above is None:
            return _said(requirement, "not shown", None, reason="the value is not known")
        # It is above the limit: sure to be wrong where it had to be below something smaller.
        sure = requirement.operator in ("<", "<=") and bound <= above
        reason = f"it is above {above:g}: too many requests failed"
        return _said(requirement, "fails" if sure else "not shown", None, reason=reason)
    if low is None and high is None:
        reason = "n is too small for an interval"
        return _said(requirement, "not shown", value, reason=reason)
    ends = (-math.inf if low is None else low, math.inf if high is None else high)
    verdicts = {compare(end, bound) for end in ends}
    if requirement.operator in ("==", "!=") and ends[0] < bound < ends[1]:
        verdicts = {True, False}
    if len(verdicts) > 1:
        reason = "its interval straddles the bound"
        return _said(requirement, "not shown", value, low, high, reason)
    return _said(requirement, "holds" if verdicts == {True} else "fails", value, low, high)


def _said(
    requirement: Requirement,
    outcome: Literal["holds", "fails", "not shown"],
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    reason: str | None = None,
) -> RequirementReport:
    return RequirementReport(
        requirement=requirement.text,
        holds=outcome == "holds",
        outcome=outcome,
        value=value,
        low=low,
        high=high,
        reason=reason,
    )


def requirement_line(result: RequirementReport) -> str:
    """A requirement, whether it holds, and the value that was found."""
    value = "" if result.value is None else f": it is {result.value:.4g}"
    ends = (
        ""
        if result.low is None or result.high is None
        else (f" [{result.low:.4g}, {result.high:.4g}]")
    )
    reason = "" if result.reason is None else f" ({result.reason})"
    return f"{result.outcome}: {result.requirement}{value}{ends}{reason}"


def junit(results: Sequence[RequirementReport]) -> str:
    """The requirements as JUnit XML, one test case each."""
    failures = sum(not result.holds for result in results)
    suite = ElementTree.Element(
        "testsuite", name="phi2 compare", tests=str(len(results)), failures=str(failures)
    )
    for result in results:
        case = ElementTree.SubElement(
            suite, "testcase", classname="requirements", name=for_terminal(result.requirement)
        )
        if not result.holds:
            message = f"{result.outcome}: {result.reason or f'it is {result.value}'}"
            ElementTree.SubElement(
                case, "failure", message=for_terminal(message), type=result.outcome
            )
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _look_up(report: Findings, path: str) -> object:
    """What stands at a path; ``None`` where something on the way is null."""
    found: Any = report
    for step in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, BaseModel):
            found = getattr(found, step, None)
        else:
            return None
    return found


def _paths(
    model: type[BaseModel], targets: Sequence[str], pairs: Sequence[str], before: str = ""
) -> Iterator[str]:
    """All paths of a report that lead to a number, with or without an interval."""
    if issubclass(model, Interval | QuantileReport):
        yield before.rstrip(".")
    for name, info in model.model_fields.items():
        where = f"{before}{name}"
        for kind in _alternatives(info.annotation):
            if get_origin(kind) is dict:
                inner = get_args(kind)[1]
                names = pairs if name in ("pairs", "break_even") else targets
                for held in _alternatives(inner):
                    if isinstance(held, type) and issubclass(held, BaseModel):
                        for one in names if name in _BY_NAME else ():
                            yield from _paths(held, targets, pairs, f"{where}.{one}.")
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _paths(kind, targets, pairs, f"{where}.")
            elif kind in (int, float, bool):
                yield where


def _alternatives(annotation: Any) -> Sequence[Any]:
    """``X | None`` as ``X`` and ``None``; anything else as it is."""
    if get_origin(annotation) in (None, dict, tuple, list):
        return (annotation,)
    return get_args(annotation) or (annotation,)
