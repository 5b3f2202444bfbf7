"""The settings of a backend: their names and aliases, and the kinds of their values."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from phi2sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from phi2sdk.backends.base import Backend

_WORDS: Mapping[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    tuple: "a list",
    dict: "a table",
}


def without_aliases(cls: type[Backend], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with each alias replaced by the name of its setting.

    Args:
        cls: The backend, which lists its aliases.
        settings: The settings of one source: a file, a program or a constructor.

    Raises:
        ConfigurationError: One setting is given under two names.
    """
    renamed: dict[str, Any] = {}
    given: dict[str, str] = {}
    for name, value in settings.items():
        setting = cls.aliases.get(name, name)
        if value is None:
            renamed.setdefault(setting, None)
            continue
        if setting in given:
            raise ConfigurationError(
                f"{given[setting]} and {name} are two names of the same setting of the backend "
                f"{cls.provider}, and both are given. Give {setting} only",
                provider=cls.provider,
            )
        given[setting] = name
        renamed[setting] = value
    return renamed


def refuse_wrong_kinds(
    constructor: type, settings: Mapping[str, Any], *, target: str, backend: str
) -> None:
    """Compare the types of settings with the annotations of a backend's constructor.

    The backend itself checks the values.

    Raises:
        ConfigurationError: A setting has another type.
    """
    try:
        hints = get_type_hints(constructor.__init__)  # type: ignore[misc]
    except NameError:  # a name that exists for type checkers only: nothing can be compared
        return
    for name, value in settings.items():
        if name in hints and not _fits(value, hints[name]):
            kinds = dict.fromkeys(_kinds(hints[name]))
            raise ConfigurationError(
                f"target {target!r}: the setting {name} of the backend {backend} is "
                f"{' or '.join(kinds) or 'an object'}, not {_word(type(value))}"
            )


def _fits(value: object, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return type(value) in {type(one) for one in inner}
    if origin in (tuple, list):
        return isinstance(value, list | tuple) and all(_fits(one, inner[0]) for one in value)
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(
            value, bool
        )
    if isinstance(hint, type) and not getattr(hint, "_is_protocol", False):
        return isinstance(value, hint)
    return type(value) not in _WORDS  # an object, which only a program can give


def _kinds(hint: Any) -> Iterator[str]:
    """Yield the accepted kinds of values, in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for one in inner:
            yield from _kinds(one)
    elif origin is Literal:
        yield from (_word(type(one)) for one in inner)
    elif origin in (tuple, list):
        yield from (f"a list of {kind.removeprefix('a ')}s" for kind in _kinds(inner[0]))
    elif hint is not type(None):
        word = _WORDS.get(hint)
        if word:
            yield word
        elif getattr(hint, "__name__", "") == "Secret":
            yield "a key"
        elif getattr(hint, "__name__", "") == "Timeouts":
            yield "a table"


def _word(kind: type) -> str:
    return _WORDS.get(kind, f"a {kind.__name__}")
