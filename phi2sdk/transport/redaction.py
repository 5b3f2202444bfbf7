"""Removes secrets from texts, documents and exceptions of other software.

A server that received a key may send it back, and an exception of a library may contain the headers
of the request. Each transport has one :class:`Redactor` with its secrets. All received data passes
through it, and every error passes through its :meth:`~Redactor.boundary`.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit
from urllib.request import getproxies

from phi2sdk.errors import Phi2Error
from phi2sdk.secret import Secret
from phi2sdk.text import untrusted

__all__ = ["ForeignError", "Redactor"]

SHORTEST_KEY = 4  # characters; a shorter text is not a key, and occurs in every text
SHORTEST_IN_AN_ANSWER = 16
"""A shorter key may be a placeholder (``none``, ``ollama``), and also a word of an answer."""

_SCHEMES = ("Bearer ", "Key ")
_REMEMBERED = 4
"""Largest number of secrets of single calls that are kept, such as tokens that expire."""

_HIDING = (b"\\u00", b"\\/", b"\0")
"""Signs of other spellings of a key in JSON: two escapes, and encodings other than UTF-8."""

_GENERATED = frozenset(
    {"", "0", "content", "generated_text", "output", "reasoning_content", "text", "token", "tokens"}
)
"""Keys of generated text in responses. The empty name stands for the whole response."""


class ForeignError(Exception):
    """An exception of another library as text: its class and its message, without secrets.

    It is the cause of a :class:`~phi2sdk.errors.Phi2Error` in place of the exception itself, whose
    attributes may hold the request with its key.
    """


class Redactor:
    """Removes secrets from the output of other software.

    The passwords of the environment's proxies are secrets as well.

    Args:
        values: The :class:`Secret` objects among these are the secrets; each may have ``Bearer``
            or ``Key`` in front.
    """

    __slots__ = ("_always", "_forms", "_marks", "_of_calls")

    def __init__(self, values: Iterable[object] = ()) -> None:
        self._always = [value for value in values if isinstance(value, Secret)]
        self._always += _proxy_passwords()
        self._of_calls: dict[str, Secret] = {}
        self._update()

    def learn(self, values: Iterable[object]) -> None:
        """Add the secrets of one call. Only the latest few are kept."""
        for value in values:
            if isinstance(value, Secret) and value.reveal() not in self._of_calls:
                self._of_calls[value.reveal()] = value
                if len(self._of_calls) > _REMEMBERED:
                    del self._of_calls[next(iter(self._of_calls))]
                self._update()

    def __call__(self, text: str) -> str:
        """Return ``text`` without any form of a secret."""
        for form in self._forms:
            text = text.replace(form.reveal(), "***")
        return text

    def answer(self, text: str) -> str:
        """Return a generated text without the secrets that are too long to be words."""
        for form in self._forms:
            if len(form.reveal()) >= SHORTEST_IN_AN_ANSWER:
                text = text.replace(form.reveal(), "***")
        return text

    def document(self, data: bytes) -> Any:
        """Return the JSON document in ``data``, with every string of it redacted.

        Raises:
            ValueError: It is not JSON.
            RecursionError: It is nested too deeply.
        """
        document = json.loads(data)
        for mark in self._marks:
            if mark in data:
                return self._without(document, "")
        return document

    def boundary(self) -> _Boundary:
        """Return a ``with`` block that redacts a :class:`~phi2sdk.errors.Phi2Error` at its exit.

        The error's texts are redacted. An exception of another library that led to it becomes a
        :class:`ForeignError`.
        """
        return _Boundary(self)

    def clean(self, error: Phi2Error, outer: BaseException | None = None) -> None:
        """Redact an error in place.

        Args:
            error: The error.
            outer: The exception that the caller was handling already; it stays as it is.
        """
        for name, value in list(vars(error).items()):
            if isinstance(value, str) and name != "partial":  # generated text, redacted on arrival
                setattr(error, name, self(value))
        error.args = (error.message,)
        reason = error.__cause__ if error.__suppress_context__ else error.__context__
        error.__cause__ = self._retold(reason, {id(error), id(outer)})
        error.__context__ = None if outer is error else outer

    def _retold(self, error: BaseException | None, seen: set[int]) -> BaseException | None:
        """Return an exception with its causes as texts; errors of this package stay, redacted."""
        told: list[BaseException] = []
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            if isinstance(error, Phi2Error):
                self.clean(error)
                told.append(error)
                break
            told.append(ForeignError(untrusted(self(f"{type(error).__name__}: {error}"))))
            error = error.__cause__ or error.__context__
        for effect, cause in pairwise(told):
            effect.__cause__ = cause
        return told[0] if told else None

    def _without(self, value: Any, name: str) -> Any:
        if isinstance(value, str):
            return self.answer(value) if name in _GENERATED else self(value)
        if isinstance(value, list):
            return [self._without(one, name) for one in value]
        if isinstance(value, dict):
            return {self(key): self._without(one, key) for key, one in value.items()}
        return value

    def _update(self) -> None:
        found = {
            form
            for secret in (*self._always, *self._of_calls.values())
            for form in _forms(_without_scheme(secret.reveal()))
        }
        self._forms = [Secret(form) for form in sorted(found, key=len, reverse=True)]
        self._marks = [*_HIDING, *(form.encode() for form in found)]


class _Boundary:
    __slots__ = ("_outer", "_redactor")

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __enter__(self) -> None:
        self._outer = sys.exception()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Phi2Error):
            self._redactor.clean(error, self._outer)


def _without_scheme(value: str) -> str:
    for scheme in _SCHEMES:
        value = value.removeprefix(scheme)
    return value


def _forms(key: str) -> Iterator[str]:
    """Yield a key as given, percent-encoded, in a JSON string, and within a base64 text."""
    if len(key) < SHORTEST_KEY:
        return
    yield from (key, quote(key, safe=""), quote_plus(key), json.dumps(key)[1:-1])
    data = key.encode()
    for before in range(3):  # bytes in front of it, which decide how its bits fall on characters
        encoded = b64encode(bytes(before) + data).decode()
        inner = encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        yield from (inner, inner.replace("+", "-").replace("/", "_"))


def _proxy_passwords() -> Iterator[Secret]:
    for address in getproxies().values():
        try:
            password = urlsplit(address if "://" in address else f"//{address}").password
        except ValueError:
            continue
        if password:
            yield from (Secret(password), Secret(unquote(password)))
