"""The interface of a backend: it takes a request and yields events."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar, Literal

from phi2sdk.completion import Event, Receipt, Request, ServerSoftware
from phi2sdk.errors import InvalidRequest
from phi2sdk.logprobs import Score, TokenLogprob
from phi2sdk.sampling import Dialect, ParameterFate, Sampling, translate
from phi2sdk.stops import stops_of
from phi2sdk.transport.preview import RequestPreview

__all__ = ["Backend", "Capabilities", "OnUnsupported"]

OnUnsupported = Literal["raise", "warn"]

Translation = tuple[dict[str, object], tuple[ParameterFate, ...]]

REMEMBERED = 64
"""Largest number of translated samplings that a backend keeps."""

kinds_of = attrgetter(*(f"{name}.__class__" for name in Sampling.__dataclass_fields__))
"""Returns the types of the values of a sampling."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The features of a backend.

    Attributes:
        streams: It sends text in pieces as the model generates it.
        wraps: The server puts the prompt into a chat template, which the client does not see.
        counts_tokens: The provider reports the numbers of input and output tokens.
        token_ids: The response contains the token ids of the answer.
        logprobs: The response contains the log-probabilities of the tokens.
        scores: It can score a given text (:meth:`Backend.score`).
        prompt_logprobs: It returns the log-probabilities of a given text
            (:meth:`Backend.prompt_logprobs`).
        context_length: Largest number of tokens of prompt and answer together; ``None``: unknown.
    """

    streams: bool = True
    wraps: bool = False
    counts_tokens: bool = False
    token_ids: bool = False
    logprobs: bool = False
    scores: bool = False
    prompt_logprobs: bool = False
    context_length: int | None = None


class Backend(ABC):
    """Base class of all backends, each of which runs Phi-2 on one provider.

    The constructor of a subclass takes its settings as keyword arguments. They are the keys that
    ``[targets.NAME]`` in ``phi2.toml`` accepts. :mod:`phi2sdk.backends` describes how to register
    a backend.

    Attributes:
        provider: Name of the provider, for receipts and errors.
        environment: Settings that come from the environment when they are not given:
            setting -> variable.
        aliases: Other accepted names of settings: alias -> setting. They work wherever the setting
            does, and are parameters of the constructor too.
        together: Settings that come from the environment only if another one does too, such as a
            key that belongs to an address.
        required: Settings that are required.
        address: The setting that holds the URL that is called.
        own_hosts: The provider's own hosts, ``*.`` in front for all below one: a target of a file
            may send them a secret of ``environment`` without a confirmation (see
            :mod:`phi2sdk.config.trust`). Only hosts where nobody but the provider can read a
            header.
        extra: The extra of this package that installs its dependencies.
    """

    provider: ClassVar[str]
    environment: ClassVar[Mapping[str, str]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}
    together: ClassVar[Mapping[str, str]] = {}
    required: ClassVar[tuple[str, ...]] = ()
    address: ClassVar[str | None] = None
    own_hosts: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str | None] = None

    def __init__(self, *, target: str | None = None, on_unsupported: OnUnsupported = "raise"):
        self.target = target or self.provider
        self.on_unsupported: OnUnsupported = on_unsupported
        self._translated: dict[object, tuple[Dialect, Translation]] = {}

    @classmethod
    def calls(cls, settings: Mapping[str, Any]) -> Any:
        """Return the URL that these settings choose, before anything is built.

        ``None`` where they choose none; words where the URL is not known before the first call.
        """
        return None if cls.address is None else settings.get(cls.address)

    @classmethod
    def signed_in(cls, settings: Mapping[str, Any]) -> tuple[str, bool] | None:
        """Return the token of the signed-in user that these settings send; ``None`` for none.

        The token's name, and whether it is the kind that ``own_hosts`` take.
        """
        return None

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """Features of this backend."""

    @property
    @abstractmethod
    def dialect(self) -> Dialect:
        """Names and values of the sampling parameters on its route."""

    @property
    def route(self) -> str:
        """Name of the route, for receipts."""
        return self.dialect.name

    @property
    def model_name(self) -> str | None:
        """Name of the model in requests; ``None`` if the endpoint serves one model only."""
        return None

    @property
    def server(self) -> tuple[str, int] | None:
        """Host and port of the server; ``None`` for a local model, or if they are not known yet."""
        return None

    @property
    def software(self) -> ServerSoftware | None:
        """The server's software and how it is known; ``None`` where this makes no difference.

        It may be unknown until the first request, :meth:`detect` or :meth:`check`.
        """
        return None

    @property
    def most_calls(self) -> int:
        """Largest number of calls that one request makes."""
        return 1

    @abstractmethod
    def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """Answer a request with the events ``Sent``, ``Opened``, ``Chunk`` ..., ``Done``.

        ``Sent`` is yielded immediately before the call is sent. Closing the generator early ends
        the call at the provider. Chunks contain the text as received; the client cuts at stops.

        Raises:
            Phi2Error: The request failed; the subclass states why.
        """

    def explain(self, request: Request) -> Receipt:
        """Return the receipt of a request without sending it.

        Raises:
            UnsupportedParameter: As the request itself would.
        """
        return self.prepare(request)[1]

    def outgoing(self, request: Request) -> RequestPreview | None:
        """Return the call that a request makes, without making it.

        ``None`` for a local model, and for a backend that does not support this.

        Raises:
            UnsupportedParameter: As the request itself would.
            ConfigurationError: The address is not known before the first call.
        """
        return None

    def prepare(self, request: Request) -> tuple[dict[str, object], Receipt]:
        """Return the sampling keys of the route for a request, and the receipt.

        Warns about each parameter that is left out if ``on_unsupported`` is ``warn``.
        """
        wire, fates = self._translate(request.sampling, stops_of(request))
        for fate in fates:
            if fate.fate == "unsupported":
                warnings.warn(f"{self.target}: {fate.note}: {fate.name} is ignored", stacklevel=2)
        receipt = Receipt(
            target=self.target,
            provider=self.provider,
            route=self.route,
            prompt=request.prompt.text,
            wrapped=self.capabilities.wraps,
            parameters=fates,
            server=self.software,
        )
        return dict(wire), receipt

    def _translate(self, sampling: Sampling, stops: tuple[str, ...]) -> Translation:
        """Call :func:`translate` and keep the result, since most requests have the same sampling.

        1 and 1.0 are equal but differ in JSON, so the types are part of the key.
        """
        dialect = self.dialect
        key = (sampling, kinds_of(sampling), stops, self.on_unsupported)
        known = self._translated.get(key)
        if known is None or known[0] is not dialect:
            made = translate(sampling, dialect, stops=stops, on_unsupported=self.on_unsupported)
            if len(self._translated) >= REMEMBERED:
                self._translated.clear()
            known = self._translated[key] = (dialect, made)
        return known[1]

    async def score(self, prompt: str, text: str, *, temperature: float = 1.0) -> Score:
        """Return the log-probability of each token of ``text`` after ``prompt``.

        Raises:
            InvalidRequest: This backend cannot score a given text (``capabilities.scores``).
        """
        raise InvalidRequest(
            f"{self.target} cannot score a given text. Use a local model",
            provider=self.provider,
        )

    async def prompt_logprobs(
        self, text: str, *, timeout: float | None = None
    ) -> tuple[TokenLogprob, ...]:
        """Return the log-probability that the endpoint itself assigns to each token of ``text``.

        Args:
            text: Prompt and answer, as one text.
            timeout: Seconds for the request.

        Raises:
            InvalidRequest: The route does not support this (``capabilities.prompt_logprobs``).
            BadResponse: The response does not contain the log-probabilities.
        """
        raise InvalidRequest(
            f"{self.target} does not return log-probabilities of a given text. Use the route of "
            "TGI, or the completions route of vLLM or SGLang",
            provider=self.provider,
        )

    async def detect(self) -> None:
        """Detect the server software if requests depend on it and no setting names it.

        No prompt and no key is sent. If the server cannot be reached, :attr:`software` states this.
        """

    async def check(self) -> str:
        """Make one inexpensive call to see whether the provider is reachable; return its answer.

        Raises:
            Phi2Error: The provider is not reachable.
        """
        return "this backend has no check: send a request"

    async def close(self) -> None:
        """Release connections, threads and memory. Closing twice has no effect."""
