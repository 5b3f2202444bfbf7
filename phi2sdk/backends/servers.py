"""The server software behind OpenAI's protocol: its names, and how it is detected.

vLLM, Ollama and the others speak one protocol and take different sampling parameters. Where no
setting names the server, :class:`Detection` asks it, once for a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from time import monotonic
from typing import Any, ClassVar, Final, Literal, cast, get_args
from urllib.parse import urlsplit

from phi2sdk.backends.base import OnUnsupported
from phi2sdk.backends.http import HTTPBackend, Route
from phi2sdk.completion import Request, ServerSoftware
from phi2sdk.errors import (
    BadResponse,
    Cancelled,
    ConfigurationError,
    Phi2Error,
    Timeout,
    UnsupportedParameter,
)
from phi2sdk.log import logger
from phi2sdk.logprobs import TokenLogprob
from phi2sdk.stops import stops_of
from phi2sdk.transport.http import HttpTransport, Timeouts

Server = Literal["vllm", "sglang", "llamacpp", "ollama", "tgi", "openai", "transformers"]

SERVERS: tuple[Server, ...] = get_args(Server)

_FALLBACK = "requests use the standard OpenAI parameters"
UNDETECTED: Final = ServerSoftware("unknown", f"not detected yet; {_FALLBACK}")
UNRECOGNIZED: Final = ServerSoftware("unknown", f"not recognized; {_FALLBACK}")

DETECTION_SECONDS = 5.0
"""Limit of a whole detection; one of its requests may take :data:`_PROBE` seconds."""
_PROBE: Final = 2.0
_MOST_BYTES = 256 * 2**10

_OWNERS: Mapping[str, Server] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "library": "ollama",
}
"""``owned_by`` in a list of models -> the server that writes it."""


def _has_version(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get("version"), str)


_SIGNS: Mapping[str, tuple[Server, Callable[[Mapping[str, Any]], bool]]] = {
    "/version": ("vllm", _has_version),
    "/props": ("llamacpp", lambda document: "default_generation_settings" in document),
    "/api/version": ("ollama", _has_version),
    "/info": ("tgi", lambda document: "model_id" in document and "max_total_tokens" in document),
}
"""Path -> the server that answers there, and whether a document is its answer."""

_LISTED = frozenset(_OWNERS.values()) - {"ollama"}
"""Servers that always name themselves in their list of models."""


def known_software(server: str | None, url: str, provider: str) -> ServerSoftware | None:
    """Return the server software that is known without a request; ``None`` where it is detected.

    Args:
        server: The setting ``server``.
        url: The address; at the hosts of OpenAI nothing is detected.
        provider: The name of the provider, for the error.

    Raises:
        ConfigurationError: The setting names no server of :data:`SERVERS`.
    """
    if server is not None:
        if server not in SERVERS:
            raise ConfigurationError(
                f"there is no server {server!r}. Use one of {', '.join(SERVERS)}, or leave the "
                "setting out to have the server detected",
                provider=provider,
            )
        return ServerSoftware(server, "named by the setting server")
    host = urlsplit(url).hostname or ""
    if host == "api.openai.com" or host.endswith(".api.openai.com"):
        return ServerSoftware("openai", f"known from the host {host}")
    return None


class Detection:
    """Detects the server software at an address, once for all requests that wait for it.

    It sends up to five GET requests one after the other, without a key. Redirects are not followed,
    responses are limited to 256 KiB, and everything takes at most :data:`DETECTION_SECONDS`.

    Args:
        provider: The name of the provider, for errors.
        timeouts: Limits of the requests of the backend, which apply if they are shorter.
        insecure_hosts: Hosts that may be called over plain http although they are not loopback.
    """

    def __init__(self, provider: str, timeouts: Timeouts, insecure_hosts: tuple[str, ...]) -> None:
        self._provider = provider
        limits = (timeouts.connect, timeouts.idle, timeouts.attempt)
        self._timeouts = Timeouts(*(min(limit, _PROBE) for limit in limits))
        self._insecure_hosts = insecure_hosts
        self._task: asyncio.Task[ServerSoftware | Phi2Error] | None = None

    async def run(self, url: str) -> ServerSoftware | Phi2Error:
        """Return the server software at ``url``, or the error because of which it is unknown.

        Args:
            url: The address of the API, usually up to and including ``/v1``.
        """
        task = self._task
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._task = asyncio.create_task(self._detect(url))
        return await asyncio.shield(task)

    def close(self) -> None:
        """Stop a detection that is running; requests that wait for it get :class:`Cancelled`."""
        task = self._task
        if task is not None and not task.done() and not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def _detect(self, url: str) -> ServerSoftware | Phi2Error:
        root = url.removesuffix("/v1")
        models = "/models" if root == url else "/v1/models"
        wire = HttpTransport(
            root,
            provider=self._provider,
            timeouts=self._timeouts,
            max_response_bytes=_MOST_BYTES,
            insecure_hosts=self._insecure_hosts,
        )
        try:
            async with asyncio.timeout(DETECTION_SECONDS):
                return await _identified(wire, models)
        except TimeoutError:
            return Timeout("the server did not answer in time", provider=self._provider)
        except asyncio.CancelledError:
            return Cancelled("the client was closed while it detected the server")
        except Phi2Error as error:
            return error
        finally:
            await wire.close()


class DetectingBackend(HTTPBackend):
    """A backend whose sampling parameters depend on the server software at its address.

    The first request detects the software, unless it is known. As long as the server cannot be
    reached, and where it is not recognized, requests use the standard OpenAI parameters.

    Args:
        make_route: Returns the wire format for a server; for ``None`` the standard one.
        software: The server software; ``None`` if it is to be detected.
        timeouts: Limits of one request.
        insecure_hosts: Hosts that may be called over plain http although they are not loopback.
        others: Arguments of :class:`~phi2sdk.backends.http.HTTPBackend`.
    """

    api_path: ClassVar[str] = ""
    """The path of the API below the address of the wire."""

    def __init__(
        self,
        *,
        make_route: Callable[[Server | None], Route],
        software: ServerSoftware | None,
        wire: HttpTransport | None,
        timeouts: Timeouts,
        insecure_hosts: tuple[str, ...],
        target: str | None,
        on_unsupported: OnUnsupported,
    ) -> None:
        known = None if software is None else cast(Server, software.name)
        super().__init__(
            route=make_route(known), wire=wire, target=target, on_unsupported=on_unsupported
        )
        self._software = software or UNDETECTED
        self._make_route = make_route
        self._detection = None if software else Detection(self.provider, timeouts, insecure_hosts)

    @property
    def software(self) -> ServerSoftware:
        return self._software

    async def detect(self) -> None:
        await self._detect(None)

    async def ready(self, request: Request) -> Request:
        if self._detection is None:
            return request
        begun = monotonic()
        failure = await self._detect(request.timeout)
        if isinstance(failure, Cancelled):
            raise copy(failure)
        if failure is not None:
            try:
                self._translate(request.sampling, stops_of(request))
            except UnsupportedParameter:  # it may be supported: that is what could not be found out
                raise copy(failure) from None
        if request.timeout is None:
            return request
        return replace(request, timeout=max(request.timeout - (monotonic() - begun), 0.001))

    async def prompt_logprobs(
        self, text: str, *, timeout: float | None = None
    ) -> tuple[TokenLogprob, ...]:
        await self._detect(timeout)
        return await super().prompt_logprobs(text, timeout=timeout)

    async def close(self) -> None:
        if self._detection is not None:
            self._detection.close()
        await super().close()

    async def _detect(self, timeout: float | None) -> Phi2Error | None:
        """Detect the server within ``timeout`` seconds; return why this failed, if it did."""
        if self._detection is None:
            return None
        url = (await self.connect()).base_url + self.api_path
        try:
            async with asyncio.timeout(timeout):
                found = await self._detection.run(url)
        except TimeoutError:
            found = Timeout("the server did not answer in time", provider=self.provider)
        if isinstance(found, Phi2Error):
            self._software = ServerSoftware(
                "unknown", f"not detected: {found.message}; {_FALLBACK}"
            )
            return found
        self._software, self._detection = found, None
        if found is not UNRECOGNIZED:
            self._route = self._make_route(cast(Server, found.name))
        logger.info("%s: the server is %s", self.target, found)
        return None


async def _identified(wire: HttpTransport, models: str) -> ServerSoftware:
    """Return what answers behind ``wire``.

    Raises:
        Phi2Error: The server cannot be reached, or is not ready yet.
    """
    listed = await _document(wire, models)
    data = listed.get("data")
    cards = data if isinstance(data, list) else []
    owners = [card.get("owned_by") for card in cards if isinstance(card, dict)]
    for owner in owners:
        if isinstance(owner, str) and owner in _OWNERS:
            return ServerSoftware(_OWNERS[owner], f"detected from {models}")
    for path, (server, signs) in _SIGNS.items():
        if owners and server in _LISTED:
            continue
        if signs(await _document(wire, path)):
            return ServerSoftware(server, f"detected from {path}")
    return UNRECOGNIZED


async def _document(wire: HttpTransport, path: str) -> Mapping[str, Any]:
    """Return the JSON object at a path; an empty one where the server has none there.

    Raises:
        Phi2Error: The server cannot be reached, or is not ready yet (status 429 or 503).
    """
    try:
        async with wire.get(path) as reply:
            _, document = await reply.json()
    except BadResponse:
        return {}
    except Phi2Error as error:
        if error.status is None or error.status in (429, 503):
            raise
        return {}
    return document if isinstance(document, dict) else {}
