"""Reads JSON and TOML from other software; every fault is a ``ValueError`` with its reason.

No other exception is raised for any nesting depth or length of numbers.
"""

from __future__ import annotations

import json
import math
import tomllib
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import ValidationError

T = TypeVar("T")

DEEPEST = 100
"""Largest depth of nesting; more than any file of this package has, and less than Python's limit
of recursion."""


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON document in UTF-8; every number in it is finite.

    Raises:
        ValueError: The document is not valid. The message states the reason on one line.

    >>> parse_json('{"seed": 7}')
    {'seed': 7}
    """
    try:
        document = text if isinstance(text, str) else text.decode("utf-8")
        return _shallow(_JSON.decode(document), document)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"it is not JSON ({error.msg} at {where})") from None
    except _Refused:
        raise
    except ValueError:  # the only other error: Python converts no more than 4,300 digits
        raise ValueError(_TOO_LONG) from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML document.

    Raises:
        ValueError: The document is not valid. The message states the reason on one line.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(str(error)) from None
    except ValueError:  # the only other error: Python converts no more than 4,300 digits
        raise ValueError(_TOO_LONG) from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    return _shallow(tables, text)


def first_mistake(error: ValidationError) -> str:
    """Return position and kind of the first fault on one line, without the value itself."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(step)[:40] for step in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("model_type", "dataclass_type", "dict_type"):
        what = "it is not an object"
    return f"{where}: {what}" if where else what


_TOO_DEEP = f"it is nested too deeply: {DEEPEST} levels are the most that is read"
_TOO_LONG = "it has a number with too many digits"


def _shallow(value: T, text: str) -> T:
    if text.count("[") + text.count("{") < DEEPEST:
        return value
    level: list[Any] = [value]
    depth = 0
    while level := [
        inner
        for one in level
        if isinstance(one, dict | list)
        for inner in (one.values() if isinstance(one, dict) else one)
        if isinstance(inner, dict | list)
    ]:
        depth += 1
        if depth >= DEEPEST:
            raise _Refused(_TOO_DEEP)
    return value


class _Refused(ValueError):
    """Refuse a number that Python accepts in JSON although the standard does not."""


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise _Refused("it has a number that is too large")
    return value


def _no_number(name: str) -> float:
    raise _Refused(f"{name} is not a JSON number")


_JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_no_number)
