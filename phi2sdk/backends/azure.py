"""Azure: managed online endpoints (``/score`` or TGI) and the chat routes.

A deployment's catalog item decides its style:

- ``score``: Microsoft's item for Phi-2. No stream, no token counts, no finish reason.
- ``tgi``: Hugging Face's item: Text Generation Inference at the endpoint.
- ``chat``: ``{endpoint}/chat/completions?api-version=...``, what azure-ai-inference calls.
- ``v1``: ``{endpoint}/openai/v1``, what the OpenAI SDK calls there. ``route`` says which of its
  routes: ``completions`` (the prompt as it is) or, where the deployment has only that, ``chat``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlencode, urlsplit

from phi2sdk.backends.azure_reply import answer_of, without_echo
from phi2sdk.backends.azure_token import Credential, TokenCache, default_credential
from phi2sdk.backends.base import Capabilities, OnUnsupported
from phi2sdk.backends.hf import TGI, TGI_DIALECT
from phi2sdk.backends.http import EventReader, HTTPBackend, HttpCall, Route
from phi2sdk.backends.openai import Chat, Completions
from phi2sdk.backends.settings import without_aliases
from phi2sdk.completion import Chunk, Done, Request
from phi2sdk.errors import (
    BadResponse,
    ConfigurationError,
    InvalidRequest,
    ModelNotFound,
    Phi2Error,
    ProviderFault,
)
from phi2sdk.sampling import Dialect, Rule
from phi2sdk.secret import Secret
from phi2sdk.text import untrusted
from phi2sdk.transport.failures import Failure, error_for
from phi2sdk.transport.http import HttpTransport, Timeouts
from phi2sdk.transport.preview import RequestPreview

Engine = Literal["newer", "older"]
Form = Literal["input_string", "params"]
Style = Literal["score", "tgi", "chat", "v1"]

_SCORE: Mapping[str, Rule] = {
    "max_tokens": Rule("max_new_tokens"),
    "temperature": Rule("temperature"),
    "top_p": Rule("top_p", neutral=1.0),
}

SCORE: Mapping[Engine, Dialect] = {
    # It drops what it does not know in silence, so nothing else may be sent.
    "newer": Dialect(
        "azure.score (newer)",
        {**_SCORE, "top_k": Rule("top_k", neutral=-1), "stop": Rule("stop", convert=list)},
        greedy={"do_sample": False},
        sampled={"do_sample": True},
    ),
    # transformers' generate(): its own default for top_k is 50, so 'off' must be said.
    "older": Dialect(
        "azure.score (older)",
        {
            **_SCORE,
            "top_k": Rule("top_k", neutral=0),
            "repetition_penalty": Rule("repetition_penalty", neutral=1.0),
        },
        greedy={"do_sample": False},
        sampled={"do_sample": True},
    ),
}
"""The releases of Microsoft's inference engine behind ``/score``."""

_STANDARD: Mapping[str, Rule] = {
    "max_tokens": Rule("max_tokens"),
    "temperature": Rule("temperature"),
    "top_p": Rule("top_p", neutral=1.0),
    "seed": Rule("seed"),
    "stop": Rule("stop", convert=list, limit=4),
}

_EXTRAS: Mapping[str, Rule] = {
    name: Rule(name) for name in ("top_k", "min_p", "repetition_penalty")
}
"""Beyond the chat route's own schema: refused unless a header passes them to the model."""

_TGI = replace(TGI_DIALECT, name="azure.tgi")
_CHAT = Dialect("azure.chat", {**_STANDARD, **_EXTRAS})
_V1_COMPLETIONS = Dialect("azure.v1.completions", _STANDARD)
_V1_CHAT = Dialect("azure.v1.chat", _STANDARD)

DIALECTS: tuple[Dialect, ...] = (*SCORE.values(), _TGI, _CHAT, _V1_COMPLETIONS, _V1_CHAT)
"""Every dialect of this module."""

DEFAULT_API_VERSION = "2024-05-01-preview"

_SUFFIXES = (
    "/openai/v1/chat/completions",
    "/openai/v1/completions",
    "/openai/v1",
    "/chat/completions",
    "/generate_stream",
    "/generate",
    "/score",
)


_OLDER_HINT = (
    ". If the deployment runs an older release of Microsoft's item, that release refuses keys of "
    'the newer one (top_k, stop): set engine="older" and form="input_string" on this backend'
)


class ScoreRoute(Route):
    """``POST /score`` of Microsoft's item.

    Some releases repeat the prompt before the answer. If a response begins with the prompt, the
    prompt is removed once. The samples of the model card repeat it with spaces instead of line
    breaks, so white space is not compared.

    Args:
        engine: ``newer`` (no repetition penalty) or ``older`` (no stops).
        form: Form of the body: ``input_string`` (``input_data.input_string`` and
            ``input_data.parameters``, which every release accepts) or ``params`` (a list as
            ``input_data``, and ``params``; newer releases).
    """

    capabilities = Capabilities(streams=False)

    def __init__(self, engine: Engine = "newer", form: Form = "input_string") -> None:
        self.dialect = SCORE[engine]
        self._engine = engine
        self._form = form
        self.hint = _OLDER_HINT if engine == "newer" else ""

    def call(self, prompt: str, wire: Mapping[str, Any], *, stream: bool) -> HttpCall:
        parameters = dict(wire)
        if self._engine == "older":
            parameters["return_full_text"] = False
        body: dict[str, Any]
        if self._form == "params":
            body = {"input_data": [prompt], "params": parameters}
        else:
            body = {"input_data": {"input_string": [prompt], "parameters": parameters}}
        return HttpCall("/score", body, streamed=False)

    def read_reply(self, document: Any, t_ns: int, prompt: str) -> Iterable[Chunk | Done]:
        text = without_echo(prompt, answer_of(document))
        if text:
            yield Chunk(text, text, t_ns)
        yield Done(t_ns, None)

    def reader(self) -> EventReader:
        raise BadResponse("/score has no stream")


class AzureChat(Chat):
    """``POST /chat/completions?api-version=...`` of serverless and Foundry endpoints.

    Usage of a stream is read where it comes, but not asked for: the key that asks is not in the
    route's schema.
    """

    capabilities = Capabilities(wraps=True)

    def __init__(self, model: str | None = None, api_version: str = DEFAULT_API_VERSION) -> None:
        query = urlencode({"api-version": api_version})
        super().__init__(model, _CHAT, f"/chat/completions?{query}")

    def call(self, prompt: str, wire: Mapping[str, Any], *, stream: bool) -> HttpCall:
        call = super().call(prompt, wire, stream=stream)
        if wire.keys() & _EXTRAS.keys():
            return replace(call, headers={"extra-parameters": "pass-through"})
        return call

    def _streaming(self) -> dict[str, Any]:
        return {"stream": True}


class AzureBackend(HTTPBackend):
    """A Phi-2 endpoint on Azure.

    Args:
        endpoint: The URL of the endpoint, with or without the route (``/score``,
            ``/chat/completions``, ...).
        api_key: The key of the endpoint; not used if ``credential`` is given.
        key: Alias of ``api_key``.
        credential: Any azure-identity credential, synchronous or not, or ``"default"`` for
            azure-identity's ``DefaultAzureCredential``. The caller closes it.
        scope: Scope of the tokens; by default that of the style.
        style: ``score``, ``tgi``, ``chat`` or ``v1``: the protocol of the deployment.
        engine: For ``score``: see :class:`ScoreRoute`.
        form: For ``score``: see :class:`ScoreRoute`.
        route: For ``v1``: ``completions`` or ``chat``.
        model: For ``chat`` and ``v1``: the name of the model on the endpoint. The default for
            ``v1`` is ``deployment``, or ``phi-2`` without a deployment.
        deployment: The deployment of a managed endpoint that receives the requests.
        api_version: For ``chat`` and ``v1``; by default the one in the query of ``endpoint``.
    """

    provider: ClassVar[str] = "azure"
    environment: ClassVar[Mapping[str, str]] = {
        "endpoint": "AZURE_PHI2_ENDPOINT",
        "api_key": "AZURE_PHI2_KEY",
    }
    aliases: ClassVar[Mapping[str, str]] = {"key": "api_key"}
    required = ("endpoint",)
    address: ClassVar[str | None] = "endpoint"
    own_hosts: ClassVar[tuple[str, ...]] = (
        "*.inference.ml.azure.com",
        "*.models.ai.azure.com",
        "*.services.ai.azure.com",
        "*.cognitiveservices.azure.com",
        "*.openai.azure.com",
    )
    extra: ClassVar[str | None] = "azure"

    def __init__(
        self,
        *,
        endpoint: str,
        api_key: Secret | None = None,
        key: Secret | None = None,
        credential: Credential | Literal["default"] | None = None,
        scope: str | None = None,
        style: Style = "score",
        engine: Engine = "newer",
        form: Form = "input_string",
        route: Literal["completions", "chat"] = "completions",
        model: str | None = None,
        deployment: str | None = None,
        api_version: str | None = None,
        target: str | None = None,
        timeouts: Timeouts = Timeouts(),
        insecure_hosts: tuple[str, ...] = (),
        on_unsupported: OnUnsupported = "raise",
    ) -> None:
        api_key = without_aliases(type(self), {"api_key": api_key, "key": key})["api_key"]
        for name, value, known in (
            ("style", style, ("score", "tgi", "chat", "v1")),
            ("engine", engine, tuple(SCORE)),
            ("form", form, ("input_string", "params")),
            ("route", route, ("completions", "chat")),
        ):
            if value not in known:
                raise ConfigurationError(
                    f"there is no {name} {value!r}: use one of {', '.join(known)}",
                    provider=self.provider,
                )
        if engine == "older" and form == "params":
            raise ConfigurationError(
                "the older engine does not read params: use form='input_string'",
                provider=self.provider,
            )
        if api_key is None and credential is None:
            raise ConfigurationError(
                "the backend azure needs api_key or credential: set AZURE_PHI2_KEY, or give "
                "credential='default' to sign in with azure-identity",
                provider=self.provider,
            )
        base, version = _split_endpoint(endpoint)
        self._style = style
        self._query = ""
        if version := api_version or version or (DEFAULT_API_VERSION if style == "chat" else None):
            self._query = "?" + urlencode({"api-version": version})
        self._scope = scope or _SCOPES[style]
        self._tokens: TokenCache | None = None
        headers: dict[str, str | Secret] = {}
        if deployment is not None:
            headers["azureml-model-deployment"] = deployment
        if credential is not None:
            self._tokens = TokenCache(
                default_credential() if credential == "default" else credential,
                self._scope,
                timeout=timeouts.attempt,
                owned=credential == "default",
            )
        elif api_key is not None:
            headers["Authorization"] = Secret(f"Bearer {api_key.reveal()}")
            if style == "chat":
                headers["api-key"] = api_key  # serverless reads the one, Foundry the other
        super().__init__(
            route=self._make_route(engine, form, route, model, deployment, version),
            wire=HttpTransport(
                base,
                provider=self.provider,
                headers=headers,
                timeouts=timeouts,
                classify=self._classify,
                insecure_hosts=insecure_hosts,
            ),
            target=target,
            on_unsupported=on_unsupported,
        )

    @classmethod
    def signed_in(cls, settings: Mapping[str, Any]) -> tuple[str, bool] | None:
        if settings.get("credential") is None:
            return None
        usual = {str(style): scope for style, scope in _SCOPES.items()}
        scope = settings.get("scope") or usual.get(str(settings.get("style", "score")), "")
        return f"a Microsoft Entra token for {scope}", scope in _SCOPES.values()

    def outgoing(self, request: Request) -> RequestPreview:
        made = super().outgoing(request)
        if self._tokens is None:
            return made
        hint = "az account get-access-token --query accessToken --output tsv"
        # With "=" the value is never read as an option of its own.
        return replace(made, hint=(*hint.split(), f"--scope={self._scope}"))

    def known_headers(self) -> Mapping[str, str | Secret]:
        return {} if self._tokens is None else {"Authorization": Secret("Bearer")}

    async def headers(self) -> Mapping[str, str | Secret]:
        if self._tokens is None:
            return {}
        token = await self._tokens.token()
        return {"Authorization": Secret(f"Bearer {token.reveal()}")}

    async def close(self) -> None:
        await super().close()
        if self._tokens is not None:
            await self._tokens.close()

    async def check(self) -> str:
        path = {
            "score": "/",
            "tgi": "/info",
            "chat": f"/info{self._query}",
            "v1": f"/openai/v1/models{self._query}",
        }[self._style]
        wire, headers = await self.connect(), await self.headers()
        try:
            async with wire.get(path, headers=headers, timeout=10) as reply:
                if self._style == "score":
                    return "reachable"
                _, document = await reply.json()
        except ModelNotFound:
            # The gateway looks at the key first; the container has no such path.
            where = path.partition("?")[0]
            return f"reachable, and the key is accepted; it does not name its model at {where}"
        return _named(document)

    def _make_route(
        self,
        engine: Engine,
        form: Form,
        route: Literal["completions", "chat"],
        model: str | None,
        deployment: str | None,
        version: str | None,
    ) -> Route:
        if self._style == "score":
            return ScoreRoute(engine, form)
        if self._style == "tgi":
            return TGI(_TGI)
        if self._style == "chat":
            return AzureChat(model, version or DEFAULT_API_VERSION)
        served = model or deployment or "phi-2"
        if route == "chat":
            return Chat(served, _V1_CHAT, f"/openai/v1/chat/completions{self._query}")
        return Completions(served, _V1_COMPLETIONS, f"/openai/v1/completions{self._query}")

    def _classify(self, failure: Failure) -> Phi2Error | None:
        if failure.status == 401 and self._tokens is not None:
            self._tokens.forget()
        if failure.status != 424:
            return None
        inner = failure.headers.get("ms-azureml-model-error-statuscode", "")
        reason = untrusted(failure.headers.get("ms-azureml-model-error-reason", "")) or inner
        known = inner.isascii() and inner.isdecimal() and 400 <= int(inner[:4]) < 600
        kind = type(error_for(replace(failure, status=int(inner)))) if known else ProviderFault
        error = failure.as_error(kind, code=failure.code or reason or None)
        if isinstance(self._route, ScoreRoute) and kind in (InvalidRequest, ProviderFault):
            error.message += self._route.hint
        return error


_SCOPES: Mapping[Style, str] = {
    "score": "https://ml.azure.com/.default",
    "tgi": "https://ml.azure.com/.default",
    "chat": "https://ml.azure.com/.default",
    "v1": "https://cognitiveservices.azure.com/.default",
}


def _split_endpoint(endpoint: str) -> tuple[str, str | None]:
    """(base, api version) of an endpoint as portals show it, its route included."""
    base, version = str(endpoint).strip(), None
    try:
        query = parse_qs(urlsplit(base).query)
    except ValueError:
        query = {}
    if query.keys() == {"api-version"}:
        base, version = base.partition("?")[0], query["api-version"][0]
    base = base.rstrip("/")
    for suffix in _SUFFIXES:
        if base.endswith(suffix):
            return base.removesuffix(suffix), version
    return base, version


def _named(document: Any) -> str:
    """The model that an answer to ``/info`` or ``/models`` names."""
    if isinstance(document, dict):
        models = document.get("data")
        models = models if isinstance(models, list) else []
        listed = [model.get("id") for model in models if isinstance(model, dict)]
        for name in (document.get("model_name"), document.get("model_id"), *listed):
            if isinstance(name, str):
                return untrusted(f"serves {name}")
    return "reachable"
