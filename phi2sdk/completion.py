"""A request, the events that answer it, and the :class:`Completion` made from them.

A backend answers a :class:`Request` with a stream of events::

    Sent, Opened, Chunk, Chunk, ..., Done              the usual case
    Sent, Retrying, Sent, Opened, Chunk, ..., Done     one attempt failed first

Each event has the clock reading of its arrival. A :class:`~phi2sdk.fold.Fold` combines them into
text, timing, usage and receipt, also for a failed request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from phi2sdk.errors import Phi2Error
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import ParameterFate, Sampling
from phi2sdk.text import untrusted

__all__ = [
    "Attempt",
    "Chunk",
    "Completion",
    "Cost",
    "Count",
    "Done",
    "Event",
    "FinishReason",
    "Opened",
    "Receipt",
    "Request",
    "Retrying",
    "Sent",
    "ServerSoftware",
    "Timing",
    "Usage",
]

FinishReason = Literal["stop", "length", "filter", "cancelled"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a backend.

    Attributes:
        prompt: One string and its stops.
        sampling: How tokens are chosen.
        stream: Request a stream if the route has one; otherwise one response.
        timeout: Seconds for the whole request, retries included; ``None`` for no limit.
    """

    prompt: Prompt
    sampling: Sampling
    stream: bool = True
    timeout: float | None = None


# --------------------------------------------------------------------------- the receipt


def _shown(text: str, most: int = 60) -> str:
    """Return a text for a repr: at most ``most`` characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to a provider.

    Attributes:
        target: Name of the target.
        t_send_ns, t_end_ns: ``time.perf_counter_ns`` when the call was sent and when it ended.
        error: Name of the error class; ``None`` if the call succeeded.
        status: The HTTP status of the error, if there is one.
        wait: Seconds waited before the next attempt.
    """

    target: str
    t_send_ns: int
    t_end_ns: int
    error: str | None = None
    status: int | None = None
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class ServerSoftware:
    """The software of a server, which decides on the sampling parameters that it takes.

    Attributes:
        name: Such as ``vllm`` or ``ollama``; ``unknown`` where it was not recognized.
        source: How the name is known: by a setting, by the host, or detected from a path.
    """

    name: str
    source: str

    def __str__(self) -> str:
        return f"{self.name} ({self.source})"


@dataclass(frozen=True, slots=True, repr=False)
class Receipt:
    """Record of the request that was sent, and of its attempts.

    Attributes:
        target: Name of the target; provider: name of its provider; route: name of the dialect.
        prompt: The prompt, character for character (``prompt.encode()`` are its bytes).
        wrapped: The server put the prompt into a chat template, which the client does not see.
            The answers of such a target need not agree with those of others.
        parameters: What happened to each sampling parameter.
        attempts: Every call, including failed ones.
        finish_reason: The provider's own word for the end of the answer (``eos_token``,
            ``repetition``), if it gave one.
        server: The software of the server, for backends that distinguish several.
    """

    target: str
    provider: str
    route: str
    prompt: str
    wrapped: bool = False
    parameters: tuple[ParameterFate, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    finish_reason: str | None = None
    server: ServerSoftware | None = None

    def __repr__(self) -> str:
        sent = {key: value for fate in self.parameters for key, value in fate.wire.items()}
        missing = [fate.name for fate in self.parameters if fate.fate == "unsupported"]
        about = [
            f"to {untrusted(self.target, 60)} by {untrusted(self.route, 60)}",
            f"prompt {_shown(self.prompt)!r} ({len(self.prompt)} characters)",
            f"sent {_shown(', '.join(f'{key}={value!r}' for key, value in sent.items()), 200)}",
        ]
        if missing:
            about.append(f"not sent {', '.join(missing)}")
        if self.server is not None:
            about.append(f"server {untrusted(self.server.name, 60)}")
        about.append(f"attempts {len(self.attempts)}")
        return f"<Receipt {', '.join(about)}>"

    @property
    def waited(self) -> float:
        """Seconds spent between attempts."""
        return sum(attempt.wait for attempt in self.attempts)

    def fate(self, name: str) -> ParameterFate:
        """Return what happened to a parameter of :class:`~phi2sdk.sampling.Sampling`."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)


# --------------------------------------------------------------------------- numbers


@dataclass(frozen=True, slots=True)
class Count:
    """A number of tokens, and whether it is an estimate."""

    value: int
    estimated: bool = False

    def __str__(self) -> str:
        return f"about {self.value}" if self.estimated else str(self.value)


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of tokens of a request; ``None`` if unknown.

    Attributes:
        input: Tokens of the prompt.
        output_billed: Tokens generated, including text after the stop.
        output_kept: Tokens of the text before the stop.
        cached: Tokens of the prompt that came from the provider's cache.
    """

    input: Count | None = None
    output_billed: Count | None = None
    output_kept: Count | None = None
    cached: Count | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a request.

    Attributes:
        usd: US dollars.
        source: Source of the price; date: when the price was read (ISO).
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
        t_send_ns: Start of the call, before the connection is made.
        t_first_ns: First chunk with content; ``None`` if the response was not streamed.
        t_last_ns: Last content, or the moment at which the stop was found.
        chunks: ``(t_ns, characters, tokens or None)`` of each chunk with content.
    """

    t_send_ns: int
    t_first_ns: int | None
    t_last_ns: int
    chunks: tuple[tuple[int, int, int | None], ...] = ()

    @property
    def ttft(self) -> float | None:
        """Time to first token in seconds; ``None`` if the response was not streamed."""
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
    """A call is about to be sent.

    Attributes:
        t_ns: Time of the event.
        receipt: The request that is sent.
        streamed: Whether the response will be a stream.
    """

    t_ns: int
    receipt: Receipt
    streamed: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """The provider accepted the call, and its response begins.

    Attributes:
        t_ns: Time at which its headers (for gRPC, the first message) arrived.
        request_id: The provider's identifier of the request, if it is known already.
        model: Name of the model, as reported.
        input: Tokens of the prompt, if they are known already.
    """

    t_ns: int
    request_id: str | None = None
    model: str | None = None
    input: Count | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of text.

    Attributes:
        text: The part before a stop; may be empty.
        raw: The text as received.
        t_ns: Time at which it was received.
        token_ids: Its tokens, if the response contains them.
        logprobs: Their natural log-probabilities, if the response contains them.
        tokens: Number of its tokens; ``None`` if unknown.
        last: It is the end of the answer; only counts may follow.
    """

    text: str
    raw: str
    t_ns: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    tokens: int | None = None
    last: bool = False


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
        t_ns: Time at which the end was known.
        finish_reason: Why the answer ended; ``None`` if the provider does not report it.
        usage: The counts of the provider.
        model: Name of the model, as reported.
        request_id: The provider's identifier of the request.
        cut: Whether the client ended the answer at a stop before the provider did.
        told: The finish reason as the provider reports it, if any.
    """

    t_ns: int
    finish_reason: FinishReason | None
    usage: Usage = Usage()
    model: str | None = None
    request_id: str | None = None
    cut: bool = False
    told: str | None = None


Event = Sent | Opened | Chunk | Retrying | Done


# --------------------------------------------------------------------------- the answer


@dataclass(frozen=True, slots=True, repr=False)
class Completion:
    """An answer with its usage, timing, cost and receipt.

    Attributes:
        text: The answer, cut at the stop, without white space at both ends (for code only at the
            right, since the indentation of the first line is part of the program).
        raw_text: The text as received, including text after the stop.
        finish_reason: ``stop``, ``length``, ``filter`` or ``cancelled``; ``None`` if unknown.
        usage, timing, receipt: Token counts, clock readings, and the request that was sent.
        cost: ``None`` if the price is unknown.
        model: Name of the model, as reported.
        request_id: The provider's identifier of the request.
        token_ids, logprobs: For each generated token, if the response contains them; else empty.
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

    def __repr__(self) -> str:
        usage = f"{self.usage.input or '?'} + {self.usage.output_billed or '?'} tokens"
        return (
            f"<Completion {_shown(self.text)!r} by {untrusted(self.receipt.target, 60)}, "
            f"{usage}, "
            f"{self.timing.e2e:.3g} s, finish_reason={self.finish_reason}>"
        )

    def _repr_html_(self) -> str:
        from phi2sdk.notebook import answer_html

        usage, timing, cost = self.usage, self.timing, self.cost
        about = [
            f"target {self.receipt.target}",
            f"{usage.input or 'unknown'} input tokens",
            f"{usage.output_billed or 'unknown'} output tokens",
            f"E2E {timing.e2e:.3g} s",
        ]
        if timing.ttft is not None:
            about.append(f"TTFT {timing.ttft:.3g} s")
        if cost is not None:
            about.append(f"cost {'about ' * cost.estimated}${cost.usd:.3g}")
        if self.finish_reason:
            about.append(f"finish reason {self.finish_reason}")
        return answer_html(self.text, about)
