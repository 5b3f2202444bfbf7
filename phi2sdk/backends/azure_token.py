"""Microsoft Entra tokens for Azure's endpoints, from any azure-identity credential."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from typing import Any, Protocol

from phi2sdk.errors import AuthenticationFailed, ConfigurationError, ConnectionFailed, Timeout
from phi2sdk.secret import Secret
from phi2sdk.text import untrusted
from phi2sdk.transport.redaction import Redactor

EARLY_SECONDS = 300
"""Seconds before its expiry at which a token is renewed."""


_OF_AZURE_IDENTITY = (
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_PASSWORD",
)
"""Environment variables from which azure-identity takes secrets."""


class Credential(Protocol):
    """A ``TokenCredential`` or an ``AsyncTokenCredential`` of azure-core."""

    def get_token(self, *scopes: str, **kwargs: Any) -> Any:
        """Return an access token with ``token`` and ``expires_on``, or a coroutine for it."""


class TokenCache:
    """The token of a credential for one scope, fetched once for many calls.

    Args:
        credential: A synchronous credential is called on a thread, because it blocks.
        scope: The scope of the token.
        timeout: Seconds that the credential may take.
        owned: Whether :meth:`close` closes the credential.
    """

    def __init__(
        self, credential: Credential, scope: str, *, timeout: float, owned: bool = False
    ) -> None:
        self._credential = credential
        self._owned = owned
        self._scope = scope
        self._timeout = timeout
        self._token: Secret | None = None
        self._expires = 0.0
        self._redact = Redactor(Secret(os.environ.get(name, "")) for name in _OF_AZURE_IDENTITY)
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def token(self) -> Secret:
        """Return a token that is valid for some minutes.

        Raises:
            AuthenticationFailed: The credential gives none.
            ConnectionFailed: The credential cannot reach its service.
            Timeout: It takes too long.
        """
        if fresh := self._fresh():
            return fresh
        async with self._own_lock():
            if fresh := self._fresh():  # another call fetched it meanwhile
                return fresh
            with self._redact.boundary():
                given = await self._fetch()
            token, expires = getattr(given, "token", None), getattr(given, "expires_on", None)
            if not isinstance(token, str) or not isinstance(expires, int | float):
                raise AuthenticationFailed(
                    "the credential returned no token. Sign in again, or set api_key",
                    provider="azure",
                )
            self._token, self._expires = Secret(token), float(expires)
            self._redact.learn((self._token,))
            return self._token

    def forget(self) -> None:
        """Discard a token that was rejected, so that the next call fetches another one."""
        self._token = None

    async def close(self) -> None:
        """Close the credential, if this package created it."""
        close = getattr(self._credential, "close", None)
        if self._owned and close is not None:
            await asyncio.to_thread(close)

    def _fresh(self) -> Secret | None:
        return self._token if time.time() < self._expires - EARLY_SECONDS else None

    def _own_lock(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = loop, asyncio.Lock()
        return self._lock[1]

    async def _fetch(self) -> Any:
        get = self._credential.get_token
        try:
            async with asyncio.timeout(self._timeout):
                if inspect.iscoroutinefunction(get):
                    return await get(self._scope)
                given = await asyncio.to_thread(get, self._scope)
                return await given if inspect.isawaitable(given) else given
        except TimeoutError as error:
            raise Timeout(
                f"the credential returned no token within {self._timeout:g} s", provider="azure"
            ) from error
        except Exception as error:  # a credential is third-party code
            said = untrusted(self._redact(str(error)))
            kind = ConnectionFailed if _unreachable(error) else AuthenticationFailed
            raise kind(
                f"the credential returned no token: {type(error).__name__}: {said}",
                provider="azure",
            ) from error


def default_credential() -> Credential:
    """Return the default credential of azure-identity, which tries several sources.

    Raises:
        ConfigurationError: azure-identity is not installed.
    """
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise ConfigurationError(
            "credential='default' needs azure-identity, which is not installed: "
            "python -m pip install 'phi2sdk[azure]'",
            provider="azure",
        ) from error
    made: Credential = DefaultAzureCredential()
    return made


def _unreachable(error: Exception) -> bool:
    try:
        from azure.core.exceptions import ServiceRequestError, ServiceResponseError
    except ImportError:
        return False
    return isinstance(error, ServiceRequestError | ServiceResponseError)
