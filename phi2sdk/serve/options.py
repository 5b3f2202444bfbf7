"""The options of the gateway, from the command line and from ``[serve]`` of ``phi2.toml``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import Secret
from phi2sdk.transport.endpoint import is_loopback

__all__ = ["ServeOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """The models, the address, the key and the limits of the gateway.

    Attributes:
        targets: Names of targets or backends; each is a model of the gateway.
        routes: Further models: a name, and the targets that are tried in this order.
        config: The configuration file; ``phi2.toml`` of the working directory by default.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free port.
        api_key: The key that clients must send; ``None`` serves loopback without a key.
        budget_usd: Limit in US dollars for all requests together; ``None`` for no limit.
        concurrency: Maximum number of requests in progress.
        queue: Maximum number of requests that wait; a further request is refused with 429.
        rate: Maximum number of requests per second in the long run; ``None`` for no limit.
        timeout: Seconds for a request, including the time in the queue and retries.

    Raises:
        ConfigurationError: A value is out of its range, or a host other than loopback has no key.
    """

    targets: tuple[str, ...] = ()
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    config: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    api_key: Secret | None = None
    budget_usd: float | None = None
    concurrency: int = 64
    queue: int = 256
    rate: float | None = None
    timeout: float = 600.0

    def __post_init__(self) -> None:
        for name, holds, rule in (
            ("port", 0 <= self.port < 65536, "from 0 to 65535"),
            ("concurrency", self.concurrency >= 1, "at least 1"),
            ("queue", self.queue >= 0, "0 or more"),
            ("rate", self.rate is None or 0 < self.rate < math.inf, "above 0"),
            ("timeout", 0 < self.timeout < math.inf, "a number of seconds above 0"),
        ):
            if not holds:
                raise ConfigurationError(f"{name}={getattr(self, name)!r} must be {rule}")
        if not self.api_key and not is_loopback(self.host):
            raise ConfigurationError(
                f"the host {self.host} is not loopback, so other machines could use the targets "
                "without a key. Name the environment variable with a key by --api-key-env, or "
                "listen on 127.0.0.1"
            )
