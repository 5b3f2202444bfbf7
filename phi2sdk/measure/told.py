"""``logprobs.jsonl`` of a run: how likely endpoints find given texts, as they tell it.

A line is written before a text is sent and another one when its reply is there, so that nothing
that may have been paid for is asked again, or left out of what it cost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from phi2sdk.errors import ConfigurationError
from phi2sdk.score import TokenLogprob

__all__ = ["TOLD", "Told", "ToldFile", "read_told"]

TOLD = "logprobs.jsonl"
INTERRUPTED = "Interrupted"


@dataclass(frozen=True, slots=True)
class Told:
    """One text that was sent to an endpoint.

    Attributes:
        target: The endpoint.
        number: Of the text among the target's.
        prompt: The prompt's id in the sampled arm.
        text: The answer behind it.
        usd: US dollars at most; ``None``: its price is not known.
        tokens: Of prompt and answer, as the endpoint tells them.
        error: Why there are none: an error's class, or ``Interrupted``.
    """

    target: str
    number: int
    prompt: str
    text: str
    usd: float | None = None
    tokens: tuple[TokenLogprob, ...] = ()
    error: str | None = INTERRUPTED


def read_told(file: Path) -> tuple[Told, ...]:
    """All texts that were sent, in their order; none where there is no file.

    A line that was cut off at the end is left out: what it says did not happen yet.

    Raises:
        ConfigurationError: It is damaged.
    """
    found: dict[tuple[str, int], Told] = {}
    try:
        for line in _whole(file).splitlines():
            event = json.loads(line)
            key = event["target"], event["number"]
            if "tokens" not in event:
                found[key] = Told(**event)
                continue
            tokens = tuple(_token(*columns) for columns in event["tokens"])
            found[key] = replace(found[key], usd=event["usd"], tokens=tokens, error=event["error"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{file} cannot be read: it is damaged") from error
    return tuple(found.values())


class ToldFile:
    """Appends to ``logprobs.jsonl``.

    Args:
        file: Where; what a run that was killed left half written is cut off.
    """

    def __init__(self, file: Path) -> None:
        if file.exists():
            with file.open("r+b") as stream:
                stream.truncate(len(_whole(file)))
        self._stream = file.open("a", encoding="utf-8", newline="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def asked(self, one: Told) -> None:
        """It is about to be sent; ``usd`` is the most that it can cost."""
        names = ("target", "number", "prompt", "text", "usd")
        self._write({name: getattr(one, name) for name in names})

    def told(self, one: Told) -> None:
        """Its reply is there, or it failed."""
        self._write(
            {
                "target": one.target,
                "number": one.number,
                "usd": one.usd,
                "error": one.error,
                "tokens": [_columns(token) for token in one.tokens],
            }
        )

    def _write(self, event: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(event, allow_nan=False) + "\n")
        self._stream.flush()


def _whole(file: Path) -> bytes:
    """Up to the end of the last line that has one.

    As bytes, since ``str.splitlines`` takes characters such as U+2028 for line breaks.
    """
    data = file.read_bytes()
    return data[: data.rfind(b"\n") + 1]


def _columns(token: TokenLogprob) -> list[Any]:
    return [token.text, token.logprob, token.id, None if token.best is None else [*token.best]]


def _token(
    text: str, logprob: float | None, id: int | None, best: Iterable[Any] | None
) -> TokenLogprob:
    if best is None:
        return TokenLogprob(text, logprob, id)
    likeliest, found = best
    return TokenLogprob(text, logprob, id, (likeliest, found))
