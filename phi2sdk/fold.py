"""Combines the events of a request into its completion, whether it succeeds or fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from phi2sdk.completion import (
    Attempt,
    Chunk,
    Completion,
    Count,
    Done,
    Event,
    Opened,
    Receipt,
    Request,
    Retrying,
    Sent,
    Timing,
    Usage,
)
from phi2sdk.errors import BadResponse, Phi2Error
from phi2sdk.sampling import ParameterFate


@dataclass(slots=True)
class Fold:
    """Collects the events of a request, also of one that fails."""

    request: Request
    sent: Sent | None = None
    opened: Opened | None = None
    done: Done | None = None
    text: list[str] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    failed: bool = False
    _calling: bool = False

    def take(self, event: Event) -> None:
        """Add one event."""
        if isinstance(event, Chunk):
            self.text.append(event.text)
            self.chunks.append(event)
        elif isinstance(event, Sent):
            self.sent, self.opened, self._calling = event, None, True
        elif isinstance(event, Opened):
            self.opened = event
        elif isinstance(event, Retrying):
            self._end_attempt(event.t_ns, event.error, event.wait)
        else:
            self.done = event
            self._end_attempt(event.t_ns)

    def fail(self, error: Phi2Error, t_ns: int) -> None:
        """End the attempt with an error, and add the delivered text to the error."""
        self.failed = True
        self._end_attempt(t_ns, error)
        error.attempts = max(error.attempts, len(self.attempts))
        error.partial = error.partial or "".join(self.text)

    def _end_attempt(self, t_ns: int, error: Phi2Error | None = None, wait: float = 0.0) -> None:
        """End the current call, if there is one."""
        if self.sent is None or not self._calling:
            return
        self._calling = False
        name = type(error).__name__ if error else None
        status = error.status if error else None
        attempt = Attempt(self.sent.receipt.target, self.sent.t_ns, t_ns, name, status, wait)
        self.attempts.append(attempt)

    def receipt(self) -> Receipt | None:
        """Return the receipt with all attempts so far; ``None`` before a call was sent."""
        if self.sent is None:
            return None
        asked, parameters = self.sent.receipt, self.sent.receipt.parameters
        told = self.done.told if self.done else None
        if (wrote := self._clipped_to()) is not None:
            parameters = tuple([_clipped(fate, wrote) for fate in parameters])
        return replace(
            asked, parameters=parameters, attempts=tuple(self.attempts), finish_reason=told
        )

    def _clipped_to(self) -> int | None:
        """Return the number of tokens if a server ended the answer before ``max_tokens``."""
        if self.done is None or self.done.finish_reason != "length":
            return None
        wrote = self.done.usage.output_billed
        if wrote is None or wrote.estimated or wrote.value >= self.request.sampling.max_tokens:
            return None
        return wrote.value

    def timing(self) -> Timing | None:
        """Return the clock readings of the last attempt; ``None`` before a call was sent."""
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
        """Return the completion.

        Raises:
            BadResponse: The stream ended without its final event.
        """
        receipt, timing = self.receipt(), self.timing()
        if self.done is None or receipt is None or timing is None:
            raise BadResponse(
                "the stream ended without a final event, so the answer is incomplete. Send the "
                "request again",
                partial="".join(self.text),
            )
        cut = "".join(self.text)
        raw = "".join([chunk.raw for chunk in self.chunks])
        return Completion(
            text=cut.rstrip() if self.request.prompt.format == "code" else cut.strip(),
            raw_text=raw,
            finish_reason=self.done.finish_reason,
            usage=self._usage(kept=len(cut), received=len(raw)),
            timing=timing,
            receipt=receipt,
            model=self.done.model or (self.opened.model if self.opened else None),
            request_id=self.done.request_id or (self.opened.request_id if self.opened else None),
            token_ids=tuple([i for chunk in self.chunks for i in chunk.token_ids]),
            logprobs=tuple([p for chunk in self.chunks for p in chunk.logprobs]),
        )

    def estimate(self, usage: Usage) -> Usage:
        """Return the usage of a canceled stream, with estimates for unknown counts.

        The output is one token for each chunk whose tokens the wire does not count. The input is
        one token for every four bytes of the prompt, the average of English text.
        """
        content = [chunk for chunk in self.chunks if chunk.raw]
        received = sum(len(chunk.raw) for chunk in content)
        kept = sum(len(piece) for piece in self.text)
        wrote = usage.output_billed or Count(sum(c.tokens or 1 for c in content), estimated=True)
        share = round(wrote.value * kept / received) if received else 0
        size = len(self.request.prompt.text.encode("utf-8", "surrogatepass"))
        return Usage(
            usage.input or Count(-(-size // 4), estimated=True),
            wrote,
            usage.output_kept or Count(share, estimated=True),
            usage.cached,
        )

    def _usage(self, *, kept: int, received: int) -> Usage:
        """Return the provider's counts, and counts from the events where it reported none.

        Kept tokens are the billed tokens times the share of characters that was kept. They are an
        estimate, except if nothing was cut.
        """
        done = self.done or Done(0, None)
        billed, output_kept = done.usage.output_billed, done.usage.output_kept
        content = [chunk for chunk in self.chunks if chunk.raw]
        if billed is None and content and all(c.tokens is not None for c in content):
            billed = Count(sum(c.tokens or 0 for c in self.chunks), estimated=done.cut)
        if output_kept is None and billed is not None:
            if kept == received:
                output_kept = Count(billed.value, estimated=billed.estimated)
            elif received:
                output_kept = Count(round(billed.value * kept / received), estimated=True)
        read = done.usage.input or (self.opened.input if self.opened else None)
        return Usage(read, billed, output_kept, done.usage.cached)


def _clipped(fate: ParameterFate, wrote: int) -> ParameterFate:
    if fate.name != "max_tokens":
        return fate
    note = f"the server reduced it to {wrote} and ended the answer there with 'length'"
    return replace(fate, fate="clipped", note=note)


async def fold(events: AsyncIterator[Event], request: Request) -> Completion:
    """Collect a backend's events into a :class:`Completion`."""
    account = Fold(request)
    async for event in events:
        account.take(event)
    return account.completion()
