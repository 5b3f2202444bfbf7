"""Any server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, TGI, Ollama, transformers, ...

The completions route takes the prompt as it is. The chat route takes messages: the prompt goes as
one user message, the server wraps it in its template, and the receipt says ``wrapped``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from phi2sdk.backends.base import Capabilities, OnUnsupported
from phi2sdk.backends.finish import finish_of, told
from phi2sdk.backends.http import EventReader, HttpCall, Route
from phi2sdk.backends.prompt_logprobs import ask_echo, read_echo
from phi2sdk.backends.servers import DetectingBackend, Server, known_software
from phi2sdk.completion import Chunk, Count, Done, ServerSoftware, Usage
from phi2sdk.errors import BadResponse, ConfigurationError, ContentFiltered, ProviderFault
from phi2sdk.logprobs import TokenLogprob
from phi2sdk.sampling import Dialect, Rule
from phi2sdk.secret import Secret
from phi2sdk.text import untrusted
from phi2sdk.transport.failures import Failure, error_for
from phi2sdk.transport.http import HttpTransport, Timeouts

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "DIALECTS",
    "Chat",
    "Completions",
    "OpenAIBackend",
    "count",
    "dialect_for",
    "served",
]

_STANDARD: Mapping[str, Rule] = {
    "max_tokens": Rule("max_tokens"),
    "temperature": Rule("temperature", neutral=1.0),
    "top_p": Rule("top_p", neutral=1.0),
    "seed": Rule("seed"),
    "stop": Rule("stop", convert=list, limit=4),
}

LLAMACPP_LAST_N = 65_536
"""How many tokens llama.cpp's repetition penalty covers: more than Phi-2's context holds. Left
out, it would be 64. llama.cpp refuses -1 ('all'), and reserves memory for every token of it."""

_VLLM: Mapping[str, Rule] = {
    "top_k": Rule("top_k", neutral=-1),
    "min_p": Rule("min_p", neutral=0.0),
    "repetition_penalty": Rule("repetition_penalty", neutral=1.0),
}

_SAMPLERS: Mapping[Server, Mapping[str, Rule]] = {
    "openai": {},
    "tgi": {"top_p": Rule("top_p")},  # 1 is refused: it must be left out
    "ollama": {},
    "vllm": _VLLM,
    "sglang": _VLLM,
    "llamacpp": {
        "top_k": Rule("top_k", neutral=0),
        "min_p": Rule("min_p", neutral=0.0),
        "repetition_penalty": Rule(
            "repeat_penalty", neutral=1.0, along={"repeat_last_n": LLAMACPP_LAST_N}
        ),
    },
    "transformers": {},
}
"""What each server takes besides the standard keys, and how it says 'off'."""
_SAMPLED: Mapping[Server, Mapping[str, Any]] = {
    # Without do_sample it takes the most likely token at every temperature, and top_k is 50.
    "transformers": {"generation_config": '{"do_sample": true, "top_k": 0}'},
    # Left to itself it divides by the temperature last, after the tokens are cut.
    "llamacpp": {"samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"]},
}
"""Further keys of a sampled request."""


def _dialects(route: str) -> Mapping[Server, Dialect]:
    return {
        server: Dialect(
            f"openai.{route} ({server})",
            {**_STANDARD, **rules},
            sampled=_SAMPLED.get(server, {}),
        )
        for server, rules in _SAMPLERS.items()
    }


COMPLETIONS: Mapping[Server, Dialect] = _dialects("completions")
CHAT: Mapping[Server, Dialect] = _dialects("chat")


def dialect_for(server: Server | None, dialects: Mapping[Server, Dialect]) -> Dialect:
    """Return the dialect of a server; for an unknown one that of OpenAI, with advice to name it."""
    if server is not None:
        return dialects[server]
    more = " or ".join(name for name, rules in _SAMPLERS.items() if "top_k" in rules)
    return replace(
        dialects["openai"],
        advice="The server at this address is not known, so only the standard OpenAI parameters "
        f"are sent. If it is {more}, set server to that name",
    )


ECHOING: frozenset[str] = frozenset(COMPLETIONS[name].name for name in ("vllm", "sglang", "openai"))
"""Dialects of servers that send a prompt back with its log-probabilities."""
CLOSING: frozenset[str] = frozenset((COMPLETIONS["llamacpp"].name, CHAT["llamacpp"].name))
"""Dialects of servers that close the connection after a stream, although their response promises to
keep it: a request that follows at once on the same connection would be lost."""
DIALECTS: tuple[Dialect, ...] = (*COMPLETIONS.values(), *CHAT.values())
"""Every dialect of this module."""


class Completions(Route):
    """``POST /completions``: the prompt as it is.

    Args:
        model: The name of the model on the server; ``None`` if the endpoint serves only one.
        dialect: The names of the sampling parameters on the server.
        path: Appended to the base URL.
    """

    capabilities = Capabilities(counts_tokens=True)

    def __init__(self, model: str | None, dialect: Dialect, path: str = "/completions") -> None:
        self.model = model
        self.dialect = dialect
        self.path = path
        if dialect.name in ECHOING:
            self.capabilities = replace(self.capabilities, prompt_logprobs=True)

    def call(self, prompt: str, wire: Mapping[str, Any], *, stream: bool) -> HttpCall:
        named = {} if self.model is None else {"model": self.model}
        body = {**named, **self._input(prompt), **wire}
        if not stream:
            return HttpCall(self.path, body, stream)
        headers = {"Connection": "close"} if self.dialect.name in CLOSING else {}
        return HttpCall(self.path, body | self._streaming(), stream, headers)

    def read_reply(self, document: Any, t_ns: int, prompt: str) -> Iterable[Chunk | Done]:
        choice = _only_choice(document)
        text, reason = self._text(choice), choice.get("finish_reason")
        if not text and reason == "content_filter":
            raise ContentFiltered("the provider's content filter withheld the answer")
        if text is None:
            raise BadResponse("the response's text is null")
        finish = finish_of(reason, text)
        if text:
            yield Chunk(text, text, t_ns)
        yield Done(t_ns, finish, _usage(document), *_names(document), told=told(reason))

    def reader(self) -> EventReader:
        return _Reader(self)

    def prompt_logprobs_call(self, text: str) -> HttpCall:
        return HttpCall(self.path, ask_echo(self.model, text), False)

    def read_prompt_logprobs(self, document: Any) -> tuple[TokenLogprob, ...]:
        return read_echo(_only_choice(document))

    def _input(self, prompt: str) -> dict[str, Any]:
        return {"prompt": prompt}

    def _streaming(self) -> dict[str, Any]:
        return {"stream": True, "stream_options": {"include_usage": True}}

    def _text(self, choice: Mapping[str, Any]) -> str | None:
        return _string(choice.get("text"))

    def _delta(self, choice: Mapping[str, Any]) -> str | None:
        return _string(choice.get("text"))


class Chat(Completions):
    """``POST /chat/completions``: the prompt as one user message, inside the server's template."""

    capabilities = Capabilities(counts_tokens=True, wraps=True)

    def __init__(
        self, model: str | None, dialect: Dialect, path: str = "/chat/completions"
    ) -> None:
        super().__init__(model, dialect, path)

    def _input(self, prompt: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": prompt}]}

    def _text(self, choice: Mapping[str, Any]) -> str | None:
        message = choice.get("message")
        return _string(message.get("content")) if isinstance(message, dict) else None

    def _delta(self, choice: Mapping[str, Any]) -> str | None:
        delta = choice.get("delta")
        return _string(delta.get("content")) if isinstance(delta, dict) else None


class _Reader(EventReader):
    """Content chunks as they come; the finish reason and the usage may come in either order."""

    def __init__(self, route: Completions) -> None:
        self._route = route
        self._done: Done | None = None
        self._usage = Usage()

    def read(self, document: Any, t_ns: int) -> Iterable[Chunk | Done]:
        if failure := Failure.in_event(document):
            raise error_for(failure)
        if isinstance(document, dict) and document.get("usage"):
            self._usage = _usage(document)
        choice = _first_choice(document)
        if choice is None:
            return
        reason = choice.get("finish_reason")
        if text := self._route._delta(choice):
            yield Chunk(text, text, t_ns, last=bool(reason))
        if reason:
            finish = finish_of(reason)
            self._done = Done(t_ns, finish, Usage(), *_names(document), told=told(reason))

    def end(self, t_ns: int) -> Done | None:
        return replace(self._done, usage=self._usage) if self._done else None


class OpenAIBackend(DetectingBackend):
    """Any OpenAI-compatible server.

    Args:
        base_url: The URL of the API, up to and including ``/v1``.
        api_key: Sent as a bearer token; optional if the server needs no key.
        model: The name of the model on the server.
        route: ``completions`` (the prompt as it is) or ``chat`` (wrapped in a template).
        server: The server software, which determines the sampling parameters: one of
            :data:`~phi2sdk.backends.servers.SERVERS`. By default it is detected before the first
            request (:class:`~phi2sdk.backends.servers.Detection`).
    """

    provider: ClassVar[str] = "openai"
    environment: ClassVar[Mapping[str, str]] = {
        "base_url": "OPENAI_BASE_URL",
        "api_key": "OPENAI_API_KEY",
        "model": "PHI2_MODEL",
    }
    together: ClassVar[Mapping[str, str]] = {"api_key": "base_url"}
    required = ("base_url",)
    address: ClassVar[str | None] = "base_url"
    own_hosts: ClassVar[tuple[str, ...]] = ("api.openai.com",)

    def __init__(
        self,
        *,
        base_url: str,
        api_key: Secret | None = None,
        model: str = "microsoft/phi-2",
        route: Literal["completions", "chat"] = "completions",
        server: Server | None = None,
        target: str | None = None,
        timeouts: Timeouts = Timeouts(),
        insecure_hosts: tuple[str, ...] = (),
        on_unsupported: OnUnsupported = "raise",
    ) -> None:
        if route not in ("completions", "chat"):
            raise ConfigurationError(f"there is no route {route!r}: use completions or chat")
        headers = {"Authorization": Secret(f"Bearer {api_key.reveal()}")} if api_key else {}

        def make_route(server: Server | None) -> Route:
            if route == "chat":
                return Chat(model, dialect_for(server, CHAT))
            return Completions(model, dialect_for(server, COMPLETIONS))

        super().__init__(
            make_route=make_route,
            software=known_software(server, base_url, self.provider),
            wire=HttpTransport(
                base_url,
                provider=self.provider,
                headers=headers,
                timeouts=timeouts,
                insecure_hosts=insecure_hosts,
            ),
            timeouts=timeouts,
            insecure_hosts=insecure_hosts,
            target=target,
            on_unsupported=on_unsupported,
        )

    async def check(self) -> str:
        await self.detect()
        return await served(await self.connect(), "/models", self.software)


async def served(wire: HttpTransport, path: str, software: ServerSoftware) -> str:
    """Ask a server for its list of models; return what it said, as a sentence for a person.

    ``transformers serve`` lists its download cache, which need not hold the model that it serves,
    and answers status 500 where it has no cache, although it is reachable.

    Raises:
        Phi2Error: The server is not reachable, refuses, or does not speak the protocol.
    """
    try:
        async with wire.get(path, timeout=10) as reply:
            _, document = await reply.json()
    except ProviderFault as error:
        if software.name == "transformers" and error.status == 500:
            return "reachable; it cannot list its models, since its download cache is missing"
        raise
    if not isinstance(document, dict):
        raise BadResponse(f"the answer to {path} is not a JSON object")
    data = document.get("data")
    models = data if isinstance(data, list) else []
    names = ", ".join(str(m.get("id")) for m in models if isinstance(m, dict))
    if software.name == "transformers":
        return untrusted(f"reachable; its download cache holds {names or 'no model'}")
    return untrusted(f"serves {names or 'no model'}")


def _first_choice(document: Any) -> Mapping[str, Any] | None:
    if not isinstance(document, dict) or not isinstance(document.get("choices"), list):
        raise BadResponse("the response is not of the OpenAI protocol: it has no list of choices")
    choices = document["choices"]
    if not choices:
        return None
    if not isinstance(choices[0], dict):
        raise BadResponse("the response is not of the OpenAI protocol: a choice is not an object")
    return choices[0]


def _only_choice(document: Any) -> Mapping[str, Any]:
    """The choice of a whole response.

    Raises:
        Phi2Error: The response reports a failure, or is not of the protocol.
    """
    if failure := Failure.in_event(document):
        raise error_for(failure)
    choice = _first_choice(document)
    if choice is None:
        raise BadResponse("the response has no choices")
    return choice


def _usage(document: Mapping[str, Any]) -> Usage:
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(
        input=count(usage.get("prompt_tokens")),
        output_billed=count(usage.get("completion_tokens")),
        cached=count(cached),
    )


def count(value: object) -> Count | None:
    """Return a number of tokens from a JSON value; ``None`` if it is not a valid number."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return Count(value) if whole else None  # type: ignore[arg-type]


def _names(document: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(model, id), where the document has them."""
    model, name = document.get("model"), document.get("id")
    return (
        untrusted(model) if isinstance(model, str) and model else None,
        untrusted(name) if isinstance(name, str) and name else None,
    )


def _string(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise BadResponse("the response's text is not a string")
