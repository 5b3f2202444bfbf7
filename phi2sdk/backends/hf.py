"""Hugging Face: Text Generation Inference at a URL, or a dedicated endpoint by its name.

An endpoint that runs vLLM or SGLang speaks OpenAI's protocol: give it ``route="completions"`` (or
``"chat"``) and say which ``server`` it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from phi2sdk.backends import missing_dependency
from phi2sdk.backends.base import Capabilities, OnUnsupported
from phi2sdk.backends.finish import finish_of, told
from phi2sdk.backends.http import EventReader, HttpCall, Route
from phi2sdk.backends.openai import (
    CHAT,
    COMPLETIONS,
    Chat,
    Completions,
    count,
    dialect_for,
    served,
)
from phi2sdk.backends.prompt_logprobs import ask_prefill, read_prefill
from phi2sdk.backends.servers import DetectingBackend, Server, known_software
from phi2sdk.backends.settings import without_aliases
from phi2sdk.completion import Chunk, Count, Done, ServerSoftware, Usage
from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    ModelLoading,
    Phi2Error,
)
from phi2sdk.log import logger
from phi2sdk.logprobs import TokenLogprob
from phi2sdk.sampling import Dialect, Rule
from phi2sdk.secret import Secret
from phi2sdk.text import untrusted
from phi2sdk.transport.failures import Failure, error_for
from phi2sdk.transport.http import HttpTransport, Timeouts
from phi2sdk.transport.redaction import Redactor

if TYPE_CHECKING:
    from huggingface_hub import InferenceEndpoint

TGI_DIALECT = Dialect(
    name="hf.tgi",
    rules={
        "max_tokens": Rule("max_new_tokens"),
        "temperature": Rule("temperature"),
        "top_p": Rule("top_p"),  # 1 is refused: it must be left out
        "top_k": Rule("top_k"),
        "repetition_penalty": Rule("repetition_penalty", neutral=1.0),
        "seed": Rule("seed"),
        "stop": Rule("stop", convert=list, limit=4),
    },
    # Temperature 0 is refused, and a temperature or top_p beside do_sample=false would sample.
    greedy={"do_sample": False},
    sampled={"do_sample": True},
)

DIALECTS: tuple[Dialect, ...] = (TGI_DIALECT,)
"""The dialects of this module; its OpenAI routes are those of ``backends.openai``."""

HOLD_SECONDS = 600
"""Seconds for which the proxy of an endpoint that starts may hold a request."""


class TGI(Route):
    """``POST /generate`` and ``/generate_stream`` of Text Generation Inference.

    Responses contain token ids and log-probabilities. The text received contains the stop; the
    client cuts it.

    Args:
        dialect: The parameters under another name, if another provider serves the route.
    """

    capabilities = Capabilities(
        counts_tokens=True, token_ids=True, logprobs=True, prompt_logprobs=True
    )

    def __init__(self, dialect: Dialect = TGI_DIALECT) -> None:
        self.dialect = dialect

    def call(self, prompt: str, wire: Mapping[str, Any], *, stream: bool) -> HttpCall:
        parameters = {**wire, "return_full_text": False, "details": True}
        body = {"inputs": prompt, "parameters": parameters}
        return HttpCall("/generate_stream" if stream else "/generate", body, stream)

    def read_reply(self, document: Any, t_ns: int, prompt: str) -> Iterable[Chunk | Done]:
        if failure := Failure.in_event(document):
            raise error_for(failure)
        if isinstance(document, list) and len(document) == 1:
            document = document[0]  # the compatible route answers a list
        if not isinstance(document, dict) or not isinstance(document.get("generated_text"), str):
            raise BadResponse(
                "the response is not from TGI: it has no generated_text. Check route and endpoint"
            )
        text = document["generated_text"]
        details = document.get("details")
        details = details if isinstance(details, dict) else {}
        done = _done(details, t_ns, text)
        ids, logprobs = _tokens(details.get("tokens"))
        tokens = done.usage.output_billed.value if done.usage.output_billed else None
        if text or ids:
            yield Chunk(text, text, t_ns, ids, logprobs, tokens)
        yield done

    def input_told(self, headers: Mapping[str, str]) -> Count | None:
        said = headers.get("x-prompt-tokens", "")
        return count(int(said)) if said.isascii() and said.isdecimal() and len(said) < 10 else None

    def reader(self) -> EventReader:
        return _Reader()

    def prompt_logprobs_call(self, text: str) -> HttpCall:
        return HttpCall("/generate", ask_prefill(text), False)

    def read_prompt_logprobs(self, document: Any) -> tuple[TokenLogprob, ...]:
        if failure := Failure.in_event(document):
            raise error_for(failure)
        return read_prefill(document)


class _Reader(EventReader):
    """Reads a stream with one event for each token; the last event has the details."""

    def read(self, document: Any, t_ns: int) -> Iterable[Chunk | Done]:
        if failure := Failure.in_event(document):
            raise error_for(failure)
        token = document.get("token") if isinstance(document, dict) else None
        if not isinstance(token, dict) or not isinstance(token.get("text"), str):
            raise BadResponse(
                "the event is not from TGI: it has no token. Check route and endpoint"
            )
        ids, logprobs = _tokens([token])
        text = "" if token.get("special") is True else token["text"]
        details = document.get("details")
        ended = isinstance(details, dict)
        yield Chunk(text, text, t_ns, ids, logprobs, 1, last=ended)
        if ended:
            yield _done(details, t_ns)


class HFBackend(DetectingBackend):
    """Text Generation Inference, or another server, on Hugging Face or anywhere else.

    Args:
        endpoint: The server's URL.
        name: A dedicated endpoint's name; its URL is looked up on first use (with the package
            huggingface_hub), and ``endpoint`` is ignored.
        namespace: The owner of the endpoint; by default the owner of the token.
        api_key: Sent as a bearer token; optional if the server needs no key.
        token: Alias of ``api_key``.
        route: ``tgi`` (TGI's own), ``completions`` or ``chat`` (OpenAI's protocol).
        server: The server software, which determines the parameters of an OpenAI route. By
            default it is detected, unless the endpoint requires a token for every path.
        model: The name of the model on an OpenAI route.
        wake: Resume a paused endpoint (only with ``name``), and let its proxy hold a request
            for up to 600 seconds while the endpoint starts. The wait is part of the latency. The
            idle and attempt timeouts are extended by 600 seconds. Without ``wake``, a request to
            an endpoint that is scaled to zero raises :class:`~phi2sdk.errors.ModelLoading`.
    """

    provider: ClassVar[str] = "hf"
    environment: ClassVar[Mapping[str, str]] = {
        "endpoint": "HF_PHI2_ENDPOINT",
        "api_key": "HF_TOKEN",
        "model": "PHI2_MODEL",
    }
    aliases: ClassVar[Mapping[str, str]] = {"token": "api_key"}
    address: ClassVar[str | None] = "endpoint"
    own_hosts: ClassVar[tuple[str, ...]] = (
        "api.endpoints.huggingface.cloud",
        "api-inference.huggingface.co",
        "router.huggingface.co",
    )
    extra: ClassVar[str | None] = "hf"
    api_path: ClassVar[str] = "/v1"

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        name: str | None = None,
        namespace: str | None = None,
        api_key: Secret | None = None,
        token: Secret | None = None,
        route: Literal["tgi", "completions", "chat"] = "tgi",
        server: Server | None = None,
        model: str = "microsoft/phi-2",
        wake: bool = False,
        target: str | None = None,
        timeouts: Timeouts = Timeouts(),
        insecure_hosts: tuple[str, ...] = (),
        on_unsupported: OnUnsupported = "raise",
    ) -> None:
        api_key = without_aliases(type(self), {"api_key": api_key, "token": token})["api_key"]
        if endpoint is None and name is None:
            raise ConfigurationError(
                "the backend hf needs an endpoint's URL or a dedicated endpoint's name: set "
                "HF_PHI2_ENDPOINT, or give endpoint= or name=",
                provider=self.provider,
            )
        if name is not None:
            _hub()
        self._name, self._namespace, self._token = name, namespace, api_key
        self._redact = Redactor((api_key,))
        self._wake = wake
        self._insecure_hosts = insecure_hosts
        self._timeouts = timeouts
        if wake:
            idle, attempt = timeouts.idle + HOLD_SECONDS, timeouts.attempt + HOLD_SECONDS
            self._timeouts = replace(timeouts, idle=idle, attempt=attempt)
        software = known_software(server, endpoint or "", self.provider)
        if route == "tgi":
            software = ServerSoftware("tgi", "named by the setting route")
        super().__init__(
            make_route=_routes(route, model),
            software=software,
            wire=self._wire_to(endpoint) if name is None and endpoint is not None else None,
            timeouts=timeouts,
            insecure_hosts=insecure_hosts,
            target=target,
            on_unsupported=on_unsupported,
        )

    @classmethod
    def calls(cls, settings: Mapping[str, Any]) -> Any:
        if settings.get("name") is None:
            return super().calls(settings)
        owner = settings.get("namespace")
        if owner is None:  # the token's owner: the endpoint is the user's own
            return "https://api.endpoints.huggingface.cloud"
        return f"the endpoints of {owner} at Hugging Face"

    async def connect(self) -> HttpTransport:
        """Return the transport; look up the address of a dedicated endpoint, and resume it.

        Raises:
            ConfigurationError: huggingface_hub is not installed.
            ModelLoading: The endpoint has no address yet, or is paused and ``wake`` is off.
            Phi2Error: The account's service refuses, or there is no such endpoint.
        """
        if self._wire is None:
            found = await self._lookup("get_inference_endpoint")
            if self._wake and found.status == "paused":
                logger.info("%s: the endpoint %s is paused and is woken", self.target, self._name)
                found = await self._lookup("resume_inference_endpoint")
            if not found.url:
                raise ModelLoading(
                    f"the endpoint {self._name} is {self._state(found)} and has no address: "
                    "resume it, or use wake=true",
                    provider=self.provider,
                )
            if self._wire is None:  # no concurrent call was faster
                self._wire = self._wire_to(found.url)
        return self._wire

    def known_headers(self) -> Mapping[str, str | Secret]:
        return {"X-Scale-Up-Timeout": str(HOLD_SECONDS)} if self._wake else {}

    async def check(self) -> str:
        """Return the state of the endpoint; the request may wake a server that sleeps."""
        state = ""
        if self._name is not None:
            found = await self._lookup("get_inference_endpoint")
            state = f"the endpoint {self._name} is {self._state(found)}"
            if found.status != "running":
                return state
        try:
            said = await self._ask()
        except ModelLoading:
            said = "starting: scaled to zero or loading (status 503)"
        return f"{state}; {said}" if state else said

    async def _ask(self) -> str:
        await self.detect()
        wire = await self.connect()
        if not isinstance(self._route, TGI):
            return await served(wire, "/v1/models", self.software)
        async with wire.get("/info", timeout=10) as reply:
            _, document = await reply.json()
        if not isinstance(document, dict):
            raise BadResponse("the answer to /info is not an object", provider=self.provider)
        model, length = document.get("model_id"), document.get("max_total_tokens")
        return untrusted(f"serves {model}, at most {length} tokens")

    async def _lookup(self, method: str) -> InferenceEndpoint:
        """Look up the endpoint in the account, on a thread because the vendor's client blocks."""
        hub = _hub()
        if self._token is None:  # then it takes the one that is saved on this machine
            self._redact.learn((Secret(hub.get_token() or ""),))
        api = hub.HfApi(token=self._token.reveal() if self._token else None)
        with self._redact.boundary(), _hub_failures(self._redact):
            found: InferenceEndpoint = await asyncio.to_thread(
                getattr(api, method), self._name, namespace=self._namespace
            )
        return found

    def _state(self, found: InferenceEndpoint) -> str:
        return untrusted(self._redact(str(found.status)))

    def _wire_to(self, url: str) -> HttpTransport:
        base = url.strip().rstrip("/")
        for suffix in ("/v1/completions", "/v1/chat/completions", "/generate", "/v1"):
            base = base.removesuffix(suffix)
        bearer = {"Authorization": Secret(f"Bearer {self._token.reveal()}")} if self._token else {}
        return HttpTransport(
            base,
            provider=self.provider,
            headers=bearer,
            timeouts=self._timeouts,
            classify=_classify,
            insecure_hosts=self._insecure_hosts,
        )


def _routes(route: str, model: str) -> Callable[[Server | None], Route]:
    """Return the function that makes the wire format of a route for a server."""
    makers: Mapping[str, Callable[[Server | None], Route]] = {
        "tgi": lambda server: TGI(),
        "completions": lambda server: Completions(
            model, dialect_for(server, COMPLETIONS), "/v1/completions"
        ),
        "chat": lambda server: Chat(model, dialect_for(server, CHAT), "/v1/chat/completions"),
    }
    if route not in makers:
        raise ConfigurationError(
            f"there is no route {route!r}. Use tgi, completions or chat", provider="hf"
        )
    return makers[route]


def _classify(failure: Failure) -> Phi2Error | None:
    """Return ``ModelLoading`` for status 503, which the proxy sends while the endpoint starts."""
    return failure.as_error(ModelLoading) if failure.status == 503 else None


def _done(details: Mapping[str, Any], t_ns: int, partial: str = "") -> Done:
    reason = details.get("finish_reason")
    prefill = details.get("prefill")
    read = len(prefill) if isinstance(prefill, list) and prefill else details.get("input_length")
    usage = Usage(input=count(read), output_billed=count(details.get("generated_tokens")))
    return Done(t_ns, finish_of(reason, partial), usage, told=told(reason))


def _tokens(tokens: Any) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return token ids and log-probabilities; each is empty unless every token has it."""
    if not isinstance(tokens, list) or not all(isinstance(token, dict) for token in tokens):
        return (), ()
    ids = [count(token.get("id")) for token in tokens]
    logprobs = [token.get("logprob") for token in tokens]
    return (
        tuple(i.value for i in ids if i) if all(ids) else (),
        tuple(float(p) for p in logprobs) if all(map(_is_logprob, logprobs)) else (),
    )


def _is_logprob(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value <= 0


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise missing_dependency("hf", error, "hf") from error
    return huggingface_hub


@contextmanager
def _hub_failures(redact: Redactor) -> Iterator[None]:
    """Raise exceptions of huggingface_hub as errors of this package."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    try:
        yield
    except HfHubHTTPError as error:
        reply = error.response
        headers = {name: redact(value) for name, value in reply.headers.items()}
        failure = Failure("hf", reply.status_code, headers, redact(reply.text))
        raise error_for(failure) from error
    except LocalTokenNotFoundError as error:
        raise AuthenticationFailed(
            "the lookup of a dedicated endpoint needs a token. Set HF_TOKEN or api_key",
            provider="hf",
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise BadResponse(
            "Hugging Face describes the endpoint in a way that huggingface_hub does not read",
            provider="hf",
        ) from error
    except Exception as error:  # its HTTP client's own, which differ between releases
        raise ConnectionFailed(
            f"Hugging Face could not be asked about the endpoint ({type(error).__name__})",
            provider="hf",
        ) from error
