"""The models of the gateway: single targets, and routes of several targets."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.client.policies import leaves
from phi2sdk.completion import Completion, Event, Request
from phi2sdk.config.lookup import configured, resolve
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.logprobs import RankedToken
from phi2sdk.pricing.price import cost_of
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling
from phi2sdk.serve.options import ServeOptions
from phi2sdk.serve.refusal import Refusal

if TYPE_CHECKING:
    from phi2sdk.backends.base import Backend
    from phi2sdk.backends.engine.model import LocalModel
    from phi2sdk.client.budget import Spending

__all__ = ["Model", "Models", "TokenBackend", "Upstream"]

_ROUTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:+-]{0,99}")


@runtime_checkable
class TokenBackend(Protocol):
    """A backend with its own model in memory: it takes and scores tokens."""

    async def load(self) -> LocalModel:
        """Load the model, unless it is loaded."""
        ...

    async def rank(self, ids: Sequence[int], top: int) -> list[RankedToken]:
        """Return each token of a text with the ``top`` most likely tokens at its position."""
        ...


class Upstream:
    """One target, opened once for all models that use it.

    Attributes:
        target: The target.
        client: Sends requests, with retries and the budget.
        backend: The backend without policies.
        state: ``not used yet``, ``loading``, ``ready``, or the name of the last failure.
        loaded: Whether there is nothing left to load.
    """

    def __init__(self, target: Target, spending: Spending | None) -> None:
        self.target = target
        self.client = AsyncPhi2Client(
            target, on_unsupported="raise", budget=spending, timeout=target.timeout
        )
        self.backend: Backend = next(leaves(self.client.backend))
        self.state = "not used yet"
        self.loaded = self.tokens is None

    @property
    def tokens(self) -> TokenBackend | None:
        """The backend as one that takes tokens; ``None`` if it takes only text."""
        return self.backend if isinstance(self.backend, TokenBackend) else None

    async def load(self) -> None:
        """Load the model of a local target; other targets have nothing to load.

        Raises:
            Phi2Error: The model cannot be loaded.
        """
        if self.tokens is None:
            return
        self.state = "loading"
        try:
            await self.tokens.load()
            self.state, self.loaded = "ready", True
        except Phi2Error as error:
            self.state = type(error).__name__
            raise


class Model:
    """A name that requests use, and the targets behind it.

    Attributes:
        name: The name.
        upstreams: The targets that are tried, in this order.
        timeout: Largest timeout of its targets; ``None`` if one of them has none.
    """

    def __init__(self, name: str, upstreams: Sequence[Upstream]) -> None:
        self.name = name
        self.upstreams = tuple(upstreams)
        self._prices = {one.target.name: one.target.price for one in upstreams}
        limits = [one.target.timeout for one in upstreams]
        known = [limit for limit in limits if limit is not None]
        self.timeout = max(known) if len(known) == len(limits) else None
        if len(upstreams) == 1:
            self.client = upstreams[0].client
        else:  # retries, budget and connections are those of the targets
            backends = [one.client.backend for one in upstreams]
            self.client = AsyncPhi2Client(backends, timeout=None, attempts=1)

    @property
    def only(self) -> Upstream | None:
        """The target, if there is only one."""
        return self.upstreams[0] if len(self.upstreams) == 1 else None

    @property
    def tokens(self) -> TokenBackend | None:
        """The local target, if it is the only one."""
        return self.only.tokens if self.only is not None else None

    def request(
        self, prompt: Prompt, sampling: Sampling, deadline: float, *, stream: bool
    ) -> Request:
        """Return a request with the time that is left."""
        left = max(0.001, deadline - monotonic())
        return Request(
            prompt, sampling, stream, left if self.timeout is None else min(left, self.timeout)
        )

    def events(self, request: Request) -> AsyncGenerator[Event, None]:
        """Return the events of a request, after retries and fallback, and cut at the stops."""
        return self.client.events(request)

    def priced(self, completion: Completion) -> Completion:
        """Return a completion with its cost, if the price of its target is known."""
        price = self._prices.get(completion.receipt.target)
        if price is None:
            return completion
        return replace(completion, cost=cost_of(price, completion.usage, completion.timing.e2e))

    def note(self, target: str, state: str) -> None:
        """Record the result of a request to one of its targets."""
        for upstream in self.upstreams:
            if upstream.target.name == target:
                upstream.state = state

    def card(self, created: int) -> dict[str, Any]:
        """Return the entry of the model in ``/v1/models``."""
        first = self.upstreams[0]
        capabilities = first.backend.capabilities
        local = self.tokens is not None
        lengths = [one.backend.capabilities.context_length for one in self.upstreams]
        known = [length for length in lengths if length is not None]
        told = {"max_model_len": min(known)} if len(known) == len(lengths) else {}
        return {
            "id": self.name,
            "object": "model",
            "created": created,
            "owned_by": first.target.backend if self.only else "route",
            **told,
            "targets": [{"name": one.target.name, "state": one.state} for one in self.upstreams],
            "capabilities": {
                "streams": all(one.backend.capabilities.streams for one in self.upstreams),
                "wraps_prompts": any(one.backend.capabilities.wraps for one in self.upstreams),
                "logprobs": self.only is not None and capabilities.logprobs,
                "echo_logprobs": local or (self.only is not None and capabilities.prompt_logprobs),
                "token_ids": local,
            },
        }


class Models:
    """All models of a gateway.

    Attributes:
        upstreams: The targets by name.
    """

    def __init__(self, upstreams: Mapping[str, Upstream], models: Sequence[Model]) -> None:
        self.upstreams = upstreams
        self._models = {model.name: model for model in models}
        self._created = int(time.time())

    @classmethod
    def open(cls, options: ServeOptions, spending: Spending | None) -> Models:
        """Open every target once, and build the routes.

        Raises:
            ConfigurationError: There is no target, one cannot be opened, or a name is wrong.
        """
        names = options.targets or tuple(configured(options.config))
        if not names and not options.routes:
            raise ConfigurationError(
                "there is no target to serve. Name one by --target, such as --target local, or "
                "write one into phi2.toml"
            )
        upstreams: dict[str, Upstream] = {}
        for name in dict.fromkeys((*names, *(one for r in options.routes.values() for one in r))):
            upstreams[name] = Upstream(resolve(name, options.config), spending)
        models = [Model(name, [upstreams[name]]) for name in names]
        for route, targets in options.routes.items():
            if not _ROUTE_NAME.fullmatch(route) or not targets:
                raise ConfigurationError(
                    f"the route {route!r} needs a name of letters, digits and ._/:+- and at least "
                    "one target"
                )
            if route in names and targets != (route,):
                raise ConfigurationError(
                    f"{route!r} names a target and a route. Choose another name for the route"
                )
            models.append(Model(route, [upstreams[one] for one in targets]))
        return cls(upstreams, models)

    def find(self, name: str) -> Model:
        """Return a model.

        Raises:
            Refusal: There is no such model.
        """
        model = self._models.get(name)
        if model is None:
            raise Refusal(
                404,
                f"there is no model {name[:100]!r}. Use one of {', '.join(self._models)}",
                code="model_not_found",
                param="model",
            )
        return model

    def cards(self) -> list[dict[str, Any]]:
        """Return the entries of ``/v1/models``."""
        return [model.card(self._created) for model in self._models.values()]

    def card(self, name: str) -> dict[str, Any]:
        """Return one entry of ``/v1/models``.

        Raises:
            Refusal: There is no such model.
        """
        return self.find(name).card(self._created)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all models."""
        return tuple(self._models)

    @property
    def ready(self) -> bool:
        """True if every local model is loaded."""
        return all(one.loaded for one in self.upstreams.values())

    async def close(self) -> None:
        """Close every target."""
        for upstream in self.upstreams.values():
            await upstream.client.close()
