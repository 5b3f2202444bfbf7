"""Requirements: ``PATH OP NUMBER`` over the paths of the report, never evaluated as code.

``targets.azure.latency.ttft.p95 < 0.5`` names a number with an interval. The requirement holds if
the whole interval is on the right side of the bound, and fails if the whole interval is on the
other side. It is *not shown* if the interval includes the bound or there is no interval; that
counts as a failure.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
"""Fields whose keys are the names of targets or pairs."""
_SCALE = {"%": 0.01, "ms": 0.001, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement.

    Attributes:
        text: The requirement as it was written.
        path: A path of the report, with dots between its steps.
        operator: One of ``< <= > >= == !=``.
        bound: The number to compare with; ``true`` and ``false`` are 1 and 0.
    """

    text: str
    path: str
    operator: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``PATH OP NUMBER``; the number may end in ``%``, ``ms`` or ``s``.

        Raises:
            ConfigurationError: The text does not have that form.
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
            raise ConfigurationError(f"requirement {text!r}: {number!r} is not a number")
        bound = float(value.group(1)) * _SCALE.get(value.group(2) or "s", 1.0)
        return cls(text.strip(), path, op, bound)

    def check(self, targets: Sequence[str]) -> None:
        """Check that a report on these targets has the path.

        Raises:
            ConfigurationError: The report does not; the message lists similar paths.
        """
        pairs = [f"{a}:{b}" for a, b in permutations(targets, 2)]
        self.check_path(set(_paths(Report, targets, pairs)))

    def check_path(self, known: Collection[str]) -> None:
        """Check that the path is one of the paths of a report.

        Raises:
            ConfigurationError: The report does not have it; the message lists similar paths.
        """
        if self.path not in known:
            near = difflib.get_close_matches(self.path, sorted(known), n=3, cutoff=0.5)
            hint = f"; similar paths: {', '.join(near)}" if near else ""
            raise ConfigurationError(
                f"requirement {self.text!r}: the report has no path {self.path!r}{hint}"
            )


def evaluate(requirement: Requirement, report: Findings) -> RequirementReport:
    """Return whether a requirement holds in a report.

    Raises:
        ConfigurationError: The report does not have the path.
    """
    requirement.check(list(report.targets))
    return judge(requirement, _look_up(report, requirement.path))


def judge(requirement: Requirement, found: object) -> RequirementReport:
    """Return whether a requirement holds for the number, or the interval, at its path."""
    if isinstance(found, Interval | QuantileReport):
        return _judge_interval(requirement, found)
    if isinstance(found, bool | int | float):
        holds = _COMPARE[requirement.operator](float(found), requirement.bound)
        return _said(requirement, "holds" if holds else "fails", float(found))
    return _said(requirement, "not shown", None, reason="the report does not have this value")


def _judge_interval(
    requirement: Requirement, found: Interval | QuantileReport
) -> RequirementReport:
    compare, bound = _COMPARE[requirement.operator], requirement.bound
    value, low, high = found.value, found.low, found.high
    if value is None:
        above = found.censored_above if isinstance(found, QuantileReport) else None
        if above is None:
            return _said(requirement, "not shown", None, reason="the value is unknown")
        # The value is above the time limit, so it cannot be below a smaller bound.
        sure = requirement.operator in ("<", "<=") and bound <= above
        reason = f"the value is above {above:g} because too many requests failed"
        return _said(requirement, "fails" if sure else "not shown", None, reason=reason)
    if low is None and high is None:
        reason = "there are too few prompts for a 95% interval"
        return _said(requirement, "not shown", value, reason=reason)
    ends = (-math.inf if low is None else low, math.inf if high is None else high)
    verdicts = {compare(end, bound) for end in ends}
    if requirement.operator in ("==", "!=") and ends[0] < bound < ends[1]:
        verdicts = {True, False}
    if len(verdicts) > 1:
        reason = "its 95% interval includes the limit"
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


_OUTCOMES = {"holds": "is met", "fails": "is not met", "not shown": "is not shown to be met"}


def requirement_line(result: RequirementReport) -> str:
    """Return a sentence that says whether a requirement is met, and which value was measured."""
    said = f"The requirement {result.requirement!r} {_OUTCOMES[result.outcome]}"
    if (found := _found(result)) is not None:
        return f"{said}: {found}."
    return f"{said}."


def _found(result: RequirementReport) -> str | None:
    """Return what was measured and why that does not suffice; ``None`` if there is nothing."""
    ends = ""
    if result.low is not None or result.high is not None:
        low = "0" if result.low is None else f"{result.low:.4g}"
        high = "no end" if result.high is None else f"{result.high:.4g}"
        ends = f" [{low}, {high}]"
    value = None if result.value is None else f"the measured value is {result.value:.4g}{ends}"
    return ", but ".join(filter(None, (value, result.reason))) or None


def junit(results: Sequence[RequirementReport], suite: str = "phi2 compare") -> str:
    """Return the requirements as JUnit XML: a test suite with one test case for each."""
    failures = sum(not result.holds for result in results)
    tree = ElementTree.Element(
        "testsuite", name=suite, tests=str(len(results)), failures=str(failures)
    )
    for result in results:
        case = ElementTree.SubElement(
            tree, "testcase", classname="requirements", name=for_terminal(result.requirement)
        )
        if not result.holds:
            message = for_terminal(requirement_line(result))
            ElementTree.SubElement(case, "failure", message=message, type=result.outcome)
    ElementTree.indent(tree)
    return ElementTree.tostring(tree, encoding="unicode", xml_declaration=True) + "\n"


def _look_up(report: Findings, path: str) -> object:
    """Return the value at a path; ``None`` if a step of the path is null."""
    found: Any = report
    for step in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, BaseModel):
            found = getattr(found, step, None)
        else:
            return None
    return found


def numbers(part: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield ``(path, number)`` for every number of a report, with or without an interval."""
    if part is None or isinstance(part, bool | int | float | Interval | QuantileReport):
        yield path, part
    if isinstance(part, Mapping):
        part = part.items()
    elif not isinstance(part, BaseModel):
        return
    for name, held in part:
        yield from numbers(held, f"{path}.{name}" if path else str(name))


def _paths(
    model: type[BaseModel], targets: Sequence[str], pairs: Sequence[str], before: str = ""
) -> Iterator[str]:
    """Yield all paths of a report that lead to a number, with or without an interval."""
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
    """Return the members of a union; another type alone."""
    if get_origin(annotation) in (None, dict, tuple, list):
        return (annotation,)
    return get_args(annotation) or (annotation,)
