"""A request's way through the house: events in, one :class:`Completion` out.

A backend answers a :class:`Request` with a stream of events::

    Sent, Opened, Chunk, Chunk, ..., Done              the usual case
    Sent, Retrying, Sent, Opened, Chunk, ..., Done     one attempt failed first

Events are facts with the clock reading of the moment they reached us. :class:`Fold` turns them
into text, timing, usage and receipt; a failed request folds into the same account.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

from phi2sdk.errors import BadResponse, Phi2Error
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import ParameterFate, Sampling

__all__ = [
    "Attempt",
    "Chunk",
    "Completion",
    "Cost",
    "Count",
    "Done",
    "Event",
    "FinishReason",
    "Fold",
    "Opened",
    "Receipt",
    "Request",
    "Retrying",
    "Sent",
    "Timing",
    "Usage",
    "fold",
]

FinishReason = Literal["stop", "length", "filter", "cancelled"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a backend is asked.

    Attributes:
        prompt: One string and its stops.
        sampling: How tokens are chosen.
        stream: Ask the route for a stream where it has one; otherwise for one reply.
        timeout: Seconds for the whole request, retries included; ``None`` for no limit.
    """

    prompt: Prompt
    sampling: Sampling
    stream: bool = True
    timeout: float | None = None


# --------------------------------------------------------------------------- the receipt


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call over the wire.

    Attributes:
        target: Who was called.
        t_send_ns, t_end_ns: ``time.perf_counter_ns`` when it was handed over and when it ended.
        error: The error's class name, ``None`` where it succeeded.
        status: Its HTTP status, where there was one.
        wait: Seconds waited before the next attempt.
    """

    target: str
    t_send_ns: int
    t_end_ns: int
    error: str | None = None
    status: int | None = None
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was really asked, and how often.

    Attributes:
        target: The target's name; provider: whose wire it speaks; route: path and dialect.
        prompt: The prompt, character for character (``prompt.encode()`` are its bytes).
        wrapped: The route took the prompt as a chat message, so the model read it inside a
            template that we do not see. Such a target cannot be expected to agree with others.
        parameters: The fate of each sampling parameter.
        attempts: Every call, failed ones included.
    """

    target: str
    provider: str
    route: str
    prompt: str
    wrapped: bool = False
    parameters: tuple[ParameterFate, ...] = ()
    attempts: tuple[Attempt, ...] = ()

    @property
    def waited(self) -> float:
        """Seconds spent between attempts."""
        return sum(attempt.wait for attempt in self.attempts)

    def fate(self, name: str) -> ParameterFate:
        """The fate of one parameter, by its name in :class:`~phi2sdk.sampling.Sampling`."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)


# --------------------------------------------------------------------------- numbers


@dataclass(frozen=True, slots=True)
class Count:
    """A number of tokens, and whether somebody counted them or we estimate."""

    value: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a request; ``None`` where nothing is known.

    Attributes:
        input: Tokens of the prompt.
        output_billed: Tokens generated, text past our cut included.
        output_kept: Tokens of the text that was kept.
        cached: Prompt tokens that came from the provider's cache.
    """

    input: Count | None = None
    output_billed: Count | None = None
    output_kept: Count | None = None
    cached: Count | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request cost.

    Attributes:
        usd: US dollars.
        source: Where the price comes from; date: when it was read there (ISO).
        model: The cost model (``per-token``, ``hourly``, ...).
        estimated: Whether a token count behind it is an estimate.
    """

    usd: float
    source: str
    date: str
    model: str
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """Clock readings of the attempt that answered, in ``time.perf_counter_ns``.

    Attributes:
        t_send_ns: Handed to the wire; connecting counts.
        t_first_ns: First chunk with content; ``None`` where nothing was streamed.
        t_last_ns: Last content, or the moment the stop cut was decided.
        chunks: ``(t_ns, characters, tokens or None)`` of each chunk with content.
    """

    t_send_ns: int
    t_first_ns: int | None
    t_last_ns: int
    chunks: tuple[tuple[int, int, int | None], ...] = ()

    @property
    def ttft(self) -> float | None:
        """Time to first token in seconds; ``None`` where nothing was streamed."""
        if self.t_first_ns is None:
            return None
        return (self.t_first_ns - self.t_send_ns) / 1e9

    @property
    def e2e(self) -> float:
        """End-to-end latency in seconds."""
        return (self.t_last_ns - self.t_send_ns) / 1e9


# --------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt is being handed to the wire now.

    Attributes:
        t_ns: When.
        receipt: What is asked.
        streamed: Whether the answer will come as a stream.
    """

    t_ns: int
    receipt: Receipt
    streamed: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """The provider accepted the call; its answer begins.

    Attributes:
        t_ns: When its headers (the first message, for gRPC) reached us.
        request_id: The provider's name for the request, if it told one so early.
        model: The model that says it answers.
    """

    t_ns: int
    request_id: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of text.

    Attributes:
        text: What is left of it after cutting at stops; may be empty.
        raw: What was received.
        t_ns: When it was received.
        token_ids: Its tokens, where the wire gives them.
        logprobs: Their natural-log probabilities, where the wire gives them.
        tokens: How many tokens it holds, ``None`` if unknown.
    """

    text: str
    raw: str
    t_ns: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Retrying:
    """The attempt failed with ``error``; the next begins after ``wait`` seconds."""

    t_ns: int
    error: Phi2Error
    wait: float


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is complete.

    Attributes:
        t_ns: When the end was known.
        finish_reason: Why it ended; ``None`` where the route does not tell.
        usage: The provider's own counts.
        model: The model that says it answered.
        request_id: The provider's name for the request.
        cut: Whether we ended it at a stop, with more possibly to come.
    """

    t_ns: int
    finish_reason: FinishReason | None
    usage: Usage = Usage()
    model: str | None = None
    request_id: str | None = None
    cut: bool = False


Event = Sent | Opened | Chunk | Retrying | Done


# --------------------------------------------------------------------------- the answer


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer with its account.

    Attributes:
        text: The answer, cut at the stop, white space stripped at both ends (for code only at the
            right: the first line's indentation is part of the program).
        raw_text: Everything received, what lay past the cut included.
        finish_reason: ``stop``, ``length``, ``filter`` or ``cancelled``; ``None`` if not told.
        usage, timing, receipt: The account.
        cost: ``None`` when the price is unknown.
        model: The model that says it answered.
        request_id: The provider's name for the request.
        token_ids, logprobs: Per generated token, where the wire gives them, else empty.
    """

    text: str
    raw_text: str
    finish_reason: FinishReason | None
    usage: Usage
    timing: Timing
    receipt: Receipt
    cost: Cost | None = None
    model: str | None = None
    request_id: str | None = None
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class Fold:
    """Takes events one by one and keeps the account, also of a request that fails."""

    request: Request
    sent: Sent | None = None
    opened: Opened | None = None
    done: Done | None = None
    text: list[str] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    failed: bool = False

    def take(self, event: Event) -> None:
        """Add one event."""
        if isinstance(event, Chunk):
            self.text.append(event.text)
            self.chunks.append(event)
        elif isinstance(event, Sent):
            self.sent, self.opened = event, None
        elif isinstance(event, Opened):
            self.opened = event
        elif isinstance(event, Retrying):
            self._end_attempt(event.t_ns, event.error, event.wait)
        else:
            self.done = event
            self._end_attempt(event.t_ns)

    def fail(self, error: Phi2Error, t_ns: int) -> None:
        """The request ended in ``error``: close the attempt, tell the error what was delivered."""
        self.failed = True
        if self.sent is not None:
            self._end_attempt(t_ns, error)
        error.attempts = max(error.attempts, len(self.attempts))
        error.partial = error.partial or "".join(self.text)

    def _end_attempt(self, t_ns: int, error: Phi2Error | None = None, wait: float = 0.0) -> None:
        assert self.sent is not None, "an attempt ends that never began"
        name = type(error).__name__ if error else None
        status = error.status if error else None
        attempt = Attempt(self.sent.receipt.target, self.sent.t_ns, t_ns, name, status, wait)
        self.attempts.append(attempt)

    def receipt(self) -> Receipt | None:
        """What was asked so far, with all attempts; ``None`` before anything was sent."""
        if self.sent is None:
            return None
        asked = self.sent.receipt
        return Receipt(
            asked.target,
            asked.provider,
            asked.route,
            asked.prompt,
            asked.wrapped,
            asked.parameters,
            tuple(self.attempts),
        )

    def timing(self) -> Timing | None:
        """Clock readings of the last attempt; ``None`` before anything was sent."""
        if self.sent is None:
            return None
        content = [chunk for chunk in self.chunks if chunk.raw]
        end_ns = self.done.t_ns if self.done else self.sent.t_ns
        return Timing(
            t_send_ns=self.sent.t_ns,
            t_first_ns=content[0].t_ns if content and self.sent.streamed else None,
            t_last_ns=content[-1].t_ns if content else end_ns,
            chunks=tuple([(chunk.t_ns, len(chunk.raw), chunk.tokens) for chunk in content]),
        )

    def completion(self) -> Completion:
        """The finished answer.

        Raises:
            BadResponse: The stream ended without saying that it was done.
        """
        receipt, timing = self.receipt(), self.timing()
        if self.done is None or receipt is None or timing is None:
            raise BadResponse("the stream ended without its end", partial="".join(self.text))
        cut = "".join(self.text)
        raw = "".join([chunk.raw for chunk in self.chunks])
        return Completion(
            text=cut.rstrip() if self.request.prompt.format == "code" else cut.strip(),
            raw_text=raw,
            finish_reason=self.done.finish_reason,
            usage=_complete_usage(self.done, self.chunks, kept=len(cut), received=len(raw)),
            timing=timing,
            receipt=receipt,
            model=self.done.model or (self.opened.model if self.opened else None),
            request_id=self.done.request_id or (self.opened.request_id if self.opened else None),
            token_ids=tuple([i for chunk in self.chunks for i in chunk.token_ids]),
            logprobs=tuple([p for chunk in self.chunks for p in chunk.logprobs]),
        )


async def fold(events: AsyncIterator[Event], request: Request) -> Completion:
    """Collect a backend's events into a :class:`Completion`."""
    account = Fold(request)
    async for event in events:
        account.take(event)
    return account.completion()


def _complete_usage(done: Done, chunks: list[Chunk], *, kept: int, received: int) -> Usage:
    """The provider's counts, and what follows from the chunks where it gave none.

    Kept tokens are billed tokens by the share of characters that was kept: an estimate, except
    where nothing was cut.
    """
    usage = done.usage
    billed = usage.output_billed
    if billed is None and chunks and all(c.tokens is not None for c in chunks if c.raw):
        billed = Count(sum(chunk.tokens or 0 for chunk in chunks), estimated=done.cut)
    output_kept = usage.output_kept
    if output_kept is None and billed is not None:
        if kept == received:
            output_kept = Count(billed.value, estimated=billed.estimated)
        elif received:
            output_kept = Count(round(billed.value * kept / received), estimated=True)
    return Usage(usage.input, billed, output_kept, usage.cached)
