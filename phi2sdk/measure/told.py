"""``logprobs.jsonl`` of a run: how likely endpoints find given texts, as they tell it.

A line is written before a text is sent and another one when its reply is there, so that nothing
that may have been paid for is asked again, or left out of what it cost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.events import Count
from phi2sdk.measure.files import ANOTHER_COPY, AppendedFile, read_bytes
from phi2sdk.parsing import first_mistake, parse_json
from phi2sdk.score import TokenLogprob

__all__ = ["TOLD", "Told", "ToldFile", "read_told"]

TOLD = "logprobs.jsonl"
INTERRUPTED = "Interrupted"

_Nats = Annotated[float, Field(strict=True, ge=-1e6, le=1e6, allow_inf_nan=False)]
_Usd = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: str
    number: Count
    prompt: str
    text: str
    usd: _Usd | None


class _Answered(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: str
    number: Count
    usd: _Usd | None
    error: str | None
    tokens: list[tuple[str, _Nats | None, Count | None, tuple[str, _Nats] | None]]


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
    try:
        return _told(file, read_bytes(file))
    except FileNotFoundError:
        return ()


def _told(file: Path, lines: bytes) -> tuple[Told, ...]:
    found: dict[tuple[str, int], Told] = {}
    for number, line in enumerate(lines[: lines.rfind(b"\n") + 1].split(b"\n")[:-1], start=1):
        try:
            plain = parse_json(line)
            answered = isinstance(plain, dict) and "tokens" in plain
            event = (_Answered if answered else _Asked).model_validate(plain)
            key = event.target, event.number
            if isinstance(event, _Asked):
                found[key] = Told(event.target, event.number, event.prompt, event.text, event.usd)
            else:
                tokens = tuple(TokenLogprob(*columns) for columns in event.tokens)
                found[key] = replace(found[key], usd=event.usd, tokens=tokens, error=event.error)
        except KeyError:
            why = "a reply without its request"
        except ValidationError as error:
            why = first_mistake(error)
        except ValueError as error:
            why = str(error)
        else:
            continue
        raise ConfigurationError(f"{file}, line {number} is damaged: {why}. {ANOTHER_COPY}")
    return tuple(found.values())


class ToldFile:
    """Appends to ``logprobs.jsonl``, as the only process that does.

    Args:
        file: Where; what a run that was killed left half written is cut off.

    Attributes:
        before: What it held when it was opened.
    """

    def __init__(self, file: Path) -> None:
        self._file = AppendedFile(file)
        try:
            self.before = _told(file, self._file.read())
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

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
        self._file.append(json.dumps(event, allow_nan=False))


def _columns(token: TokenLogprob) -> list[Any]:
    return [token.text, token.logprob, token.id, None if token.best is None else [*token.best]]
