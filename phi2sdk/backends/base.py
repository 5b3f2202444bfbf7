"""What a backend is: a request in, events out."""

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
"""Translated samplings that a backend keeps at most."""

kinds_of = attrgetter(*(f"{name}.__class__" for name in Sampling.__dataclass_fields__))
"""The types of a sampling's values."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do, so that nobody has to ask who it is.

    Attributes:
        streams: Text comes in pieces as it is generated.
        wraps: The prompt goes inside a chat template, which we do not see.
        counts_tokens: The provider tells how many tokens it read and wrote.
        token_ids: The answer's token ids come along.
        logprobs: Their log-probabilities come along.
        scores: It can score a given text (:meth:`Backend.score`).
        prompt_logprobs: It tells how likely it finds a given text
            (:meth:`Backend.prompt_logprobs`).
        context_length: Prompt and answer together have at most so many tokens; ``None``: unknown.
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
    """One way to run Phi-2.

    A subclass's constructor takes its settings as keyword arguments: they are what may stand
    under ``[targets.NAME]`` in ``phi2.toml``. See :mod:`phi2sdk.backends` for registering one.

    Attributes:
        provider: Whose wire it speaks; named in receipts and errors.
        environment: Settings that come from the environment when they are not given:
            setting -> variable.
        aliases: Other accepted names of settings: alias -> setting. They work wherever the setting
            does, and are parameters of the constructor too.
        together: Settings that come from the environment only where another one does too: a key
            belongs to the address beside it.
        required: Settings without which it cannot be built.
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
        """What it can do."""

    @property
    @abstractmethod
    def dialect(self) -> Dialect:
        """How its route says sampling parameters."""

    @property
    def route(self) -> str:
        """Where requests go, for receipts: dialect and path."""
        return self.dialect.name

    @property
    def model_name(self) -> str | None:
        """The model that is asked for by name; ``None`` where the endpoint serves just one."""
        return None

    @property
    def server(self) -> tuple[str, int] | None:
        """Host and port that are called; ``None`` on this machine, or while it is not known."""
        return None

    @property
    def software(self) -> ServerSoftware | None:
        """The server's software and how it is known; ``None`` where this makes no difference.

        It may be unknown until the first request, :meth:`detect` or :meth:`check`.
        """
        return None

    @property
    def most_calls(self) -> int:
        """How many calls over the wire one request may make at most."""
        return 1

    @abstractmethod
    def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """Answer a request: ``Sent``, ``Opened``, ``Chunk`` ..., ``Done``.

        ``Sent`` is yielded right before the call goes out. Closing the generator early ends the
        call at the provider. Chunks hold the text as received: stops are cut by the client.

        Raises:
            Phi2Error: Whatever goes wrong, under its right name.
        """

    def explain(self, request: Request) -> Receipt:
        """What would be sent for a request, without sending it.

        Raises:
            UnsupportedParameter: As the request itself would.
        """
        return self.prepare(request)[1]

    def outgoing(self, request: Request) -> RequestPreview | None:
        """The very call that a request makes, without making it.

        ``None`` where nothing goes over a wire, and for a backend that does not tell.

        Raises:
            UnsupportedParameter: As the request itself would.
            ConfigurationError: The address is only found out when the first call is made.
        """
        return None

    def prepare(self, request: Request) -> tuple[dict[str, object], Receipt]:
        """The route's sampling keys for a request, and the receipt that accounts for them.

        Warns of each parameter that is left out, where ``on_unsupported`` is ``warn``.
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
        """:func:`translate`, remembered: most requests of a program have the same sampling.

        1 and 1.0 are equal but not the same on the wire, so the kinds belong to the key.
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
        """How likely ``text`` is after ``prompt``, token by token.

        Raises:
            InvalidRequest: This backend cannot score a given text (``capabilities.scores``).
        """
        raise InvalidRequest(
            f"{self.target} cannot score a given text: only a local model can",
            provider=self.provider,
        )

    async def prompt_logprobs(
        self, text: str, *, timeout: float | None = None
    ) -> tuple[TokenLogprob, ...]:
        """How likely the endpoint itself finds each token of ``text`` after those before it.

        Args:
            text: Prompt and answer, in one.
            timeout: In seconds.

        Raises:
            InvalidRequest: This route does not tell (``capabilities.prompt_logprobs``).
            BadResponse: It should, and does not.
        """
        raise InvalidRequest(
            f"{self.target} does not tell how likely it finds a given text: TGI's own route does, "
            "and the completions route of vLLM and SGLang",
            provider=self.provider,
        )

    async def detect(self) -> None:
        """Detect the server's software, where requests depend on it and no setting names it.

        No prompt and no key is sent. Where the server cannot be reached, :attr:`software` says so.
        """

    async def check(self) -> str:
        """One cheap call that shows whether the provider is reachable; what it said.

        Raises:
            Phi2Error: It is not.
        """
        return "no check for this backend: send a request"

    async def close(self) -> None:
        """Give back connections, threads and memory. Closing twice is harmless."""
