"""Ask endpoints that report log-probabilities of prompts, and record the responses.

Every request is paid for like any other, so each is recorded before it is sent, with the most that
it can cost. A second line follows when its response has arrived, so that nothing that may have been
paid for is requested again, or left out of the cost.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phi2sdk.client.budget import Hold, charge, refused, worst_case
from phi2sdk.completion import Count, Request, Usage
from phi2sdk.errors import ConfigurationError, ContextLengthExceeded, Phi2Error
from phi2sdk.logprobs import TokenLogprob
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.events import Natural
from phi2sdk.measure.files import ANOTHER_COPY, AppendedFile, read_bytes
from phi2sdk.measure.records import Key, Record
from phi2sdk.measure.sampled import usable
from phi2sdk.parsing import first_mistake, parse_json
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling

__all__ = [
    "LOGPROBS",
    "ScoredText",
    "LogprobsFile",
    "ask_logprobs",
    "chosen",
    "read_logprobs",
    "requests_ahead",
]

Texts = Sequence[tuple[str, str]]


def chosen(done: Mapping[Key, Record], target: str, reference: str | None, count: int) -> Texts:
    """``(prompt id, answer)`` of the first sampled answers of the reference, else of the target.

    The same texts for all targets, where the reference answered; texts of different prompts first.
    """
    for author in (reference, target):
        mine = (key for key in done if key.arm == "sampled" and key.target == author)
        keys = sorted(mine, key=lambda key: (key.repetition, key.prompt))
        found = usable([done[key] for key in keys])
        pairs = zip(found.prompts, found.texts, strict=True)
        if whole := [(id, text) for id, text in pairs if _whole(text)]:
            return whole[:count]
    return ()


def _whole(text: str) -> bool:
    """Return whether a text has no unpaired surrogate, which no tokenizer accepts."""
    return text == text.encode("utf-8", "replace").decode()


def requests_ahead(
    candidates: Mapping[str, Candidate],
    prompts: Mapping[str, Prompt],
    count: int,
    scored: Sequence[ScoredText],
    *,
    max_tokens: int,
    timeout: float,
) -> Iterator[tuple[str, Request]]:
    """Yield the largest request that each text not requested yet can need, with its target.

    The answers are not written yet, so the longest prompt is followed by an answer of the maximum
    length.

    Args:
        candidates: The targets.
        prompts: The prompts by id.
        count: The number of texts per target.
        scored: The texts that were requested before.
        max_tokens: Maximum number of tokens per answer.
        timeout: Seconds per text.
    """
    longest = max(
        (p.text for p in prompts.values()), key=lambda text: len(text.encode()), default=""
    )
    request = _request(longest, "x" * (_TOKEN_BYTES * max_tokens), timeout)
    for name, candidate in candidates.items():
        if candidate.client.backend.capabilities.prompt_logprobs:
            for _ in range(count - sum(one.target == name for one in scored)):
                yield name, request


_TOKEN_BYTES = 16
"""The mean number of bytes of an answer's tokens is at most this; it is 4 to 5 in English."""


def _request(prompt: str, text: str, timeout: float) -> Request:
    """A text as if it were to be answered with one token: TGI does that, and none costs less."""
    asked = Prompt(prompt + text, allow_control_tokens=True)  # checked when it was first sent
    return Request(asked, Sampling(max_tokens=1), timeout=timeout)


async def ask_logprobs(
    folder: Path,
    candidates: Mapping[str, Candidate],
    prompts: Mapping[str, Prompt],
    texts: Mapping[str, Texts],
    *,
    timeout: float,
    reserve: Callable[[float], Hold | None] | None = None,
) -> None:
    """Request log-probabilities of texts, one at a time per target, from all targets concurrently.

    A text that was already requested is not requested again. A text that fails is counted. A
    permanent error ends the requests to its target.

    Args:
        folder: The folder of the run.
        candidates: The targets; those that do not report log-probabilities are skipped.
        prompts: The prompts by id.
        texts: ``(prompt id, answer)`` by target.
        timeout: Seconds per text.
        reserve: Reserves the maximum cost of a request in a budget; ``None`` ends the requests.
    """
    telling = [c for c in candidates.values() if c.client.backend.capabilities.prompt_logprobs]
    if not telling:
        return
    with LogprobsFile(folder / LOGPROBS) as file:
        before = {(one.target, one.number) for one in file.before}
        await asyncio.gather(
            *(
                _ask(
                    file,
                    one,
                    [
                        (number, id, prompts[id].text, text)
                        for number, (id, text) in enumerate(texts[one.name])
                        if (one.name, number) not in before
                    ],
                    timeout,
                    reserve,
                )
                for one in telling
            )
        )


async def _ask(
    file: LogprobsFile,
    candidate: Candidate,
    texts: Sequence[tuple[int, str, str, str]],
    timeout: float,
    reserve: Callable[[float], Hold | None] | None,
) -> None:
    wraps = candidate.client.backend.capabilities.wraps
    for number, id, prompt, text in texts:
        request = _request(prompt, text, timeout)
        price = candidate.price
        most = None if price is None else worst_case(price, request, wraps=wraps)
        hold = None if reserve is None or most is None else reserve(most)
        if reserve is not None and hold is None:
            return
        one = ScoredText(candidate.name, number, id, text, most)
        file.asked(one)
        begun = perf_counter()
        try:
            tokens = await candidate.client.backend.prompt_logprobs(
                request.prompt.text, timeout=timeout
            )
        except Phi2Error as error:
            failure: Phi2Error | None = error
            one = replace(one, error=type(error).__name__)
        else:
            failure = None
            one = replace(one, tokens=tokens, error=None)
        if price is not None:
            usage = Usage() if failure else Usage(Count(len(one.tokens)), Count(1))
            free = failure is not None and refused(type(failure).__name__)
            seconds = perf_counter() - begun
            usd = charge(price, request, usage, seconds=seconds, free=free, wraps=wraps)
            one = replace(one, usd=usd)
            if hold is not None:
                hold.settle(usd)
        file.told(one)
        if failure and not (failure.retryable or isinstance(failure, ContextLengthExceeded)):
            return


LOGPROBS = "logprobs.jsonl"
INTERRUPTED = "Interrupted"

_Nats = Annotated[float, Field(strict=True, ge=-1e6, le=1e6, allow_inf_nan=False)]
_Usd = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: str
    number: Natural
    prompt: str
    text: str
    usd: _Usd | None


class _Answered(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: str
    number: Natural
    usd: _Usd | None
    error: str | None
    tokens: list[tuple[str, _Nats | None, Natural | None, tuple[str, _Nats] | None]]


@dataclass(frozen=True, slots=True)
class ScoredText:
    """One text that was sent to an endpoint.

    Attributes:
        target: The endpoint.
        number: Of the text among the target's.
        prompt: The prompt's id in the sampled arm.
        text: The answer behind it.
        usd: US dollars at most; ``None``: its price is not known.
        tokens: The tokens of prompt and answer, as the endpoint returns them.
        error: Why there are none: an error's class, or ``Interrupted``.
    """

    target: str
    number: int
    prompt: str
    text: str
    usd: float | None = None
    tokens: tuple[TokenLogprob, ...] = ()
    error: str | None = INTERRUPTED


def read_logprobs(file: Path) -> tuple[ScoredText, ...]:
    """All texts that were sent, in their order; none where there is no file.

    A line that was cut off at the end is left out: what it says did not happen yet.

    Raises:
        ConfigurationError: It is damaged.
    """
    try:
        return _told(file, read_bytes(file))
    except FileNotFoundError:
        return ()


def _told(file: Path, lines: bytes) -> tuple[ScoredText, ...]:
    found: dict[tuple[str, int], ScoredText] = {}
    for number, line in enumerate(lines[: lines.rfind(b"\n") + 1].split(b"\n")[:-1], start=1):
        try:
            plain = parse_json(line)
            answered = isinstance(plain, dict) and "tokens" in plain
            event = (_Answered if answered else _Asked).model_validate(plain)
            key = event.target, event.number
            if isinstance(event, _Asked):
                found[key] = ScoredText(
                    event.target, event.number, event.prompt, event.text, event.usd
                )
            else:
                tokens = tuple(TokenLogprob(*columns) for columns in event.tokens)
                found[key] = replace(found[key], usd=event.usd, tokens=tokens, error=event.error)
        except KeyError:
            why = "a response without its request"
        except ValidationError as error:
            why = first_mistake(error)
        except ValueError as error:
            why = str(error)
        else:
            continue
        raise ConfigurationError(f"{file}, line {number} is damaged: {why}. {ANOTHER_COPY}")
    return tuple(found.values())


class LogprobsFile:
    """Appends to ``logprobs.jsonl``, as the only process that does.

    Args:
        file: The file; a line that a killed run left incomplete is cut off.

    Attributes:
        before: The contents when the file was opened.
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

    def asked(self, one: ScoredText) -> None:
        """Record a request that is about to be sent; ``usd`` is its maximum cost."""
        names = ("target", "number", "prompt", "text", "usd")
        self._write({name: getattr(one, name) for name in names})

    def told(self, one: ScoredText) -> None:
        """Record the response to a request, or its failure."""
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
