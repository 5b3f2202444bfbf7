"""Signing in to Azure with a credential in place of a key."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from phi2sdk import Secret
from phi2sdk.backends.azure import AzureBackend
from phi2sdk.emulator import Emulator
from phi2sdk.errors import AuthenticationFailed, ConnectionFailed, Phi2Error, Timeout
from phi2sdk.transport.http import Timeouts

from .conftest import ANSWER, Make, ask


class SyncCredential:
    """As azure-identity's: blocks, and is asked on a thread."""

    def __init__(self, token: str = "test-key", *, lives: float = 3600) -> None:
        self.lives, self.value = lives, token
        self.scopes: list[str] = []
        self.error: Exception | None = None

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes.extend(scopes)
        if self.error:
            raise self.error
        return AccessToken(self.value, int(time.time() + self.lives))


class AsyncCredential(SyncCredential):
    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:  # type: ignore[override]
        return super().get_token(*scopes)


@pytest.mark.parametrize("kind", [SyncCredential, AsyncCredential])
async def test_a_credential_is_asked_once_for_many_calls(
    make: Make, kind: type[SyncCredential]
) -> None:
    credential = kind()
    backend = make(key=None, credential=credential)
    answers = await asyncio.gather(*(ask(backend) for _ in range(8)))
    assert {answer.text for answer in answers} == {ANSWER}
    assert credential.scopes == ["https://ml.azure.com/.default"]


async def test_a_token_is_renewed_before_it_expires(make: Make) -> None:
    credential = SyncCredential(lives=200)
    backend = make(key=None, credential=credential, scope="mine/.default")
    await ask(backend)
    await ask(backend)
    assert credential.scopes == ["mine/.default"] * 2


async def test_a_token_that_was_refused_is_not_used_again(make: Make) -> None:
    credential = SyncCredential("refused-token")
    backend = make(key=None, credential=credential, style="v1")
    with pytest.raises(AuthenticationFailed):
        await ask(backend)
    credential.value = "test-key"
    assert (await ask(backend)).text == ANSWER
    assert credential.scopes == ["https://cognitiveservices.azure.com/.default"] * 2


async def test_a_credential_comes_before_a_key(make: Make) -> None:
    assert (await ask(make(key=Secret("wrong-key"), credential=SyncCredential()))).text == ANSWER


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (ClientAuthenticationError("signed out"), AuthenticationFailed),
        (ServiceRequestError("no route"), ConnectionFailed),
        (RuntimeError("odd"), AuthenticationFailed),
    ],
)
async def test_a_credential_that_fails_is_named(
    providers: Emulator, make: Make, raised: Exception, error: type[Phi2Error]
) -> None:
    credential = SyncCredential()
    credential.error = raised
    with pytest.raises(error):
        await ask(make(key=None, credential=credential))
    assert providers.azure.calls == []


async def test_a_credential_that_hangs_is_a_timeout(make: Make) -> None:
    class Hanging:
        async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    backend = make(key=None, credential=Hanging(), timeouts=Timeouts(attempt=0.05))
    with pytest.raises(Timeout):
        await ask(backend)


async def test_a_credential_without_a_token_is_an_authentication_failure(make: Make) -> None:
    class Empty:
        def get_token(self, *scopes: str, **_: Any) -> None:
            return None

    with pytest.raises(AuthenticationFailed):
        await ask(make(key=None, credential=Empty()))


async def test_the_same_backend_works_in_one_loop_after_another(providers: Emulator) -> None:
    credential = AsyncCredential(lives=0)
    backend = AzureBackend(endpoint=providers.azure.url, credential=credential)

    async def twice() -> list[str]:
        answers = await asyncio.gather(ask(backend), ask(backend))
        await backend.close()
        return [answer.text for answer in answers]

    assert await asyncio.to_thread(asyncio.run, twice()) == [ANSWER] * 2
    assert await asyncio.to_thread(asyncio.run, twice()) == [ANSWER] * 2
