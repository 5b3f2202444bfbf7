"""Clarifai over gRPC: Phi-2 at ``clarifai.com/microsoft/text-generation/models/phi-2``.

``PostModelOutputs`` answers once, ``GenerateModelOutputs`` in pieces that add up to the text. The
prompt goes as it is; sampling parameters go into the model version's ``params``, a Struct, whose
numbers are all floating point.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from clarifai_grpc.grpc.api import resources_pb2, service_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from phi2sdk.backends.base import Backend, Capabilities, OnUnsupported
from phi2sdk.backends.clarifai_status import PROVIDER, error_for_status
from phi2sdk.backends.clarifai_transport import (
    PUBLIC_ENDPOINT,
    Endpoint,
    GrpcTransport,
    with_scheme,
)
from phi2sdk.backends.counts import most_output
from phi2sdk.backends.http import HttpCall
from phi2sdk.backends.settings import without_aliases
from phi2sdk.completion import (
    Chunk,
    Count,
    Done,
    Event,
    FinishReason,
    Opened,
    Request,
    Sent,
    Usage,
)
from phi2sdk.errors import BadResponse, ConfigurationError
from phi2sdk.sampling import Dialect, Rule
from phi2sdk.secret import Secret
from phi2sdk.text import untrusted
from phi2sdk.transport.http import Timeouts
from phi2sdk.transport.preview import RequestPreview
from phi2sdk.transport.redaction import Redactor

VOCABULARY_SIZE = 51_200
"""Rows of Phi-2's embedding: as ``top_k`` it excludes nothing, whatever engine reads it. Other
words for 'off' (0, -1, none) are refused by one engine or another, and a key that is left out
stands for the model's own default."""

DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "clarifai.outputs",
        {
            "max_tokens": Rule("max_tokens", convert=float),
            "temperature": Rule("temperature", neutral=1.0, convert=float),
            "top_p": Rule("top_p", neutral=1.0, convert=float),
            "top_k": Rule("top_k", neutral=float(VOCABULARY_SIZE), convert=float),
        },
    ),
)
"""What the model is known to take: the parameters of its published example. There is none for
stops (they are cut on our side), seed, min_p or repetition_penalty."""

_ALIASES = frozenset({"phi-2", "phi2"})
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_CHECK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model on Clarifai; without a version, the one that Clarifai serves by default."""

    user: str = "microsoft"
    app: str = "text-generation"
    model: str = "phi-2"
    version: str | None = None

    @classmethod
    def parse(cls, text: str, version: str | None = None) -> Self:
        """A model by URL, as ``user/app/model``, or by an alias (``phi-2``, ``Phi-2``, ``phi2``).

        Args:
            text: The name of the model; a URL may end in ``/versions/<version>``.
            version: The version of the model, if the name does not contain it.

        Raises:
            ConfigurationError: The name has another form, or two versions are given.
        """
        name = text.strip()
        if name.casefold() in _ALIASES:
            return cls(version=_version(None, version))
        match _path(name):
            case [user, app, model]:
                named = None
            case [user, app, "models", model]:
                named = None
            case [user, app, "models", model, "versions", named]:
                pass
            case _:
                raise _no_model(text)
        if not all(_ID.fullmatch(part) for part in (user, app, model)):
            raise _no_model(text)
        return cls(user, app, model, _version(named, version))

    def __str__(self) -> str:
        name = f"{self.user}/{self.app}/models/{self.model}"
        return f"{name}/versions/{self.version}" if self.version else name


class ClarifaiBackend(Backend):
    """Phi-2 on Clarifai.

    Args:
        api_key: A personal access token.
        pat: Alias of ``api_key``.
        model: The model's URL on clarifai.com, ``user/app/model``, or ``phi-2``.
        version: The version of the model; by default the one that Clarifai serves.
        base: The URL of the API: ``https://host``, or ``http://127.0.0.1:port`` on this machine.
        deployment: The deployment that receives the requests, as ``user/deployment``.
        timeouts: Limits of one attempt.
        insecure_hosts: Hosts that may be called without TLS although they are not loopback.

    Clarifai reports no finish reason. ``finish_reason`` is inferred from the provider's token
    count: ``length`` if it reaches ``max_tokens``, ``stop`` if it does not, and ``None`` if there
    is no count, or one that the request cannot have produced. A count of 0 is treated as not
    reported, because the protocol does not distinguish the two.
    """

    provider: ClassVar[str] = PROVIDER
    environment: ClassVar[Mapping[str, str]] = {
        "api_key": "CLARIFAI_PAT",
        "base": "CLARIFAI_API_BASE",
    }
    aliases: ClassVar[Mapping[str, str]] = {"pat": "api_key"}
    required = ("api_key",)
    address: ClassVar[str | None] = "base"
    own_hosts: ClassVar[tuple[str, ...]] = ("api.clarifai.com",)
    extra = "clarifai"

    def __init__(
        self,
        *,
        api_key: Secret | None = None,
        pat: Secret | None = None,
        model: str = "phi-2",
        version: str | None = None,
        base: str = PUBLIC_ENDPOINT,
        deployment: str | None = None,
        target: str | None = None,
        timeouts: Timeouts = Timeouts(),
        insecure_hosts: tuple[str, ...] = (),
        on_unsupported: OnUnsupported = "raise",
    ) -> None:
        super().__init__(target=target, on_unsupported=on_unsupported)
        self.model = ModelName.parse(model, version)
        self._selector = None if deployment is None else _selector(deployment)
        api_key = without_aliases(type(self), {"api_key": api_key, "pat": pat})["api_key"]
        self._wire = GrpcTransport(Endpoint.parse(base, insecure_hosts), _usable(api_key), timeouts)

    @classmethod
    def calls(cls, settings: Mapping[str, Any]) -> Any:
        base = super().calls(settings)
        return with_scheme(base) if isinstance(base, str) else base

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(counts_tokens=True)

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[0]

    @property
    def model_name(self) -> str:
        return str(self.model)

    @property
    def server(self) -> tuple[str, int]:
        return self._wire.endpoint.server

    def call(self, request: Request) -> HttpCall:
        """Return the call that a request makes: the method, and the message as JSON."""
        wire, _ = self.prepare(request)
        body = MessageToDict(self._message(request, wire), preserving_proto_field_name=True)
        return HttpCall(_method(request), body, request.stream)

    def outgoing(self, request: Request) -> RequestPreview:
        call = self.call(request)
        return replace(self._wire.outgoing(call.path, call.body), streamed=call.streamed)

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        wire, receipt = self.prepare(request)
        body = self._message(request, wire).SerializeToString()
        reader = OutputReader(request, self._wire.redact)
        yield Sent(perf_counter_ns(), receipt, request.stream)
        if not request.stream:
            t_ns, message = await self._wire.unary(_method(request), body, request.timeout)
            text = reader.read(message)
            yield Opened(t_ns, reader.request_id, reader.model)
            if text:
                yield Chunk(text, text, t_ns)
            yield reader.done(t_ns)
            return
        opened = False
        messages = self._wire.stream(_method(request), body, request.timeout)
        async with aclosing(messages):
            async for t_ns, message in messages:
                text = reader.read(message)
                if not opened:
                    opened = True
                    yield Opened(t_ns, reader.request_id, reader.model)
                if text:
                    yield Chunk(text, text, t_ns)
        yield reader.done(perf_counter_ns())

    async def check(self) -> str:
        request = service_pb2.GetModelRequest(
            user_app_id=self._owner(),
            model_id=self.model.model,
            version_id=self.model.version or "",
        )
        _, data = await self._wire.unary("GetModel", request.SerializeToString(), _CHECK_SECONDS)
        reply = _parse(service_pb2.SingleModelResponse, data)
        if failure := error_for_status(reply, self._wire.redact):
            raise failure
        version = untrusted(self._wire.redact(reply.model.model_version.id)) or "unnamed"
        return f"has {self.model.user}/{self.model.app}/{self.model.model}, version {version}"

    async def close(self) -> None:
        await self._wire.close()

    def _message(self, request: Request, wire: Mapping[str, Any]) -> Any:
        message = service_pb2.PostModelOutputsRequest(
            user_app_id=self._owner(),
            model_id=self.model.model,
            version_id=self.model.version or "",
            runner_selector=self._selector,
        )
        message.inputs.add().data.text.raw = request.prompt.text
        message.model.model_version.output_info.params.update(wire)
        return message

    def _owner(self) -> Any:
        return resources_pb2.UserAppIDSet(user_id=self.model.user, app_id=self.model.app)


class OutputReader:
    """Reads the messages of one answer; a unary answer has one."""

    def __init__(self, request: Request, redact: Redactor) -> None:
        self.request_id: str | None = None
        self.model: str | None = None
        self._request = request
        self._redact = redact
        self._has_text = False
        self._input = self._output = self._cached = 0

    def read(self, data: bytes) -> str:
        """The text of a message.

        Raises:
            Phi2Error: It reports a failure, or is not of the protocol.
        """
        reply = _parse(service_pb2.MultiOutputResponse, data)
        if failure := error_for_status(reply, self._redact):
            raise failure
        if not reply.outputs:
            raise BadResponse("the response has no output", provider=PROVIDER)
        output = reply.outputs[0]
        self.request_id = untrusted(self._redact(reply.status.req_id)) or self.request_id
        self.model = untrusted(self._redact(output.model.id)) or self.model
        # Counts come with the last piece of a stream, or grow from piece to piece.
        self._input = output.prompt_tokens or self._input
        self._output = output.completion_tokens or self._output
        self._cached = output.cached_tokens or self._cached
        self._has_text |= output.data.HasField("text")
        return self._redact.answer(output.data.text.raw)

    def done(self, t_ns: int) -> Done:
        """The end of the answer.

        Raises:
            BadResponse: No message had a text, not even an empty one.
        """
        if not self._has_text:
            raise BadResponse("the answer has no text", provider=PROVIDER)
        usage = Usage(_count(self._input), _count(self._output), cached=_count(self._cached))
        return Done(t_ns, self._finish(), usage, self.model, self.request_id)

    def _finish(self) -> FinishReason | None:
        if not 0 < self._output <= most_output(self._request):
            return None
        return "length" if self._output >= self._request.sampling.max_tokens else "stop"


def _method(request: Request) -> str:
    return "GenerateModelOutputs" if request.stream else "PostModelOutputs"


def _parse(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise BadResponse(
            f"the response is not a {kind.DESCRIPTOR.name}: its {len(data)} bytes cannot be parsed",
            provider=PROVIDER,
        ) from None


def _count(value: int) -> Count | None:
    return Count(value) if value else None


def _path(name: str) -> list[str]:
    """The segments of a URL's path, or of ``user/app/model``; none where it is another site."""
    if "://" not in name and not name.casefold().startswith(("clarifai.com/", "www.clarifai.com/")):
        return name.split("/")
    try:
        parts = urlsplit(name if "://" in name else f"https://{name}")
    except ValueError:
        return []
    site = (parts.hostname or "").removeprefix("www.")
    if parts.scheme not in ("http", "https") or site != "clarifai.com":
        return []
    return parts.path.strip("/").split("/")


def _version(named: str | None, given: str | None) -> str | None:
    given = given or None
    if named and given and named != given:
        raise ConfigurationError(
            f"the model's URL names version {named!r} and the setting {given!r}: keep one",
            provider=PROVIDER,
        )
    version = named or given
    if version is not None and not _ID.fullmatch(version):
        raise ConfigurationError(
            f"{version!r} is not the id of a version: use letters, digits, _, . and -",
            provider=PROVIDER,
        )
    return version


def _no_model(text: str) -> ConfigurationError:
    return ConfigurationError(
        f"{untrusted(text)!r} is not a model on Clarifai: use its URL, such as "
        "https://clarifai.com/microsoft/text-generation/models/phi-2, or user/app/model, or phi-2",
        provider=PROVIDER,
    )


def _selector(deployment: str) -> Any:
    match deployment.strip().split("/"):
        case [user, name] if _ID.fullmatch(user) and _ID.fullmatch(name):
            chosen = resources_pb2.Deployment(user_id=user, id=name)
            return resources_pb2.RunnerSelector(deployment=chosen)
    raise ConfigurationError(
        f"{untrusted(deployment)!r} is not a deployment: write it as user/deployment",
        provider=PROVIDER,
    )


def _usable(api_key: Secret | None) -> Secret:
    """The token, if it can travel as gRPC metadata; gRPC would quote it in its complaint."""
    value = api_key.reveal() if api_key else ""
    if not value or not value.isascii() or not value.isprintable():
        raise ConfigurationError(
            "the personal access token is empty or has characters that no token has: set "
            "CLARIFAI_PAT to the token as Clarifai shows it",
            provider=PROVIDER,
        )
    return Secret(value)
