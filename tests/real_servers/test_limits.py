"""Log-probabilities of a given text, prompts that are too long, and what the server reports."""

from __future__ import annotations

import pytest

from phi2sdk import Phi2Client, prompts
from phi2sdk.errors import ContextLengthExceeded, InvalidRequest
from tests.real_servers.reference import Reference
from tests.real_servers.servers import CONTEXT, RealServer
from tests.real_servers.test_greedy import PARAGRAPHS

TEXT = next(iter(PARAGRAPHS.values()))


async def test_log_probabilities_of_a_text_are_the_local_models_or_are_refused(
    server: RealServer, reference: Reference
) -> None:
    async with server.async_client() as phi:
        if not phi.backend.capabilities.prompt_logprobs:
            with pytest.raises(InvalidRequest):
                await phi.backend.prompt_logprobs(TEXT)
            return
        first, *rest = await phi.backend.prompt_logprobs(TEXT)
    assert first.logprob is None
    assert [token.logprob for token in rest] == pytest.approx(reference.logprobs(TEXT), abs=1e-3)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_prompt_longer_than_the_context_is_refused_by_its_name(
    phi: Phi2Client, streamed: bool
) -> None:
    prompt = prompts.raw("glass and water " * CONTEXT)
    with pytest.raises(ContextLengthExceeded):
        if streamed:
            list(phi.stream(prompt, max_tokens=4))
        else:
            phi.generate(prompt, max_tokens=4)


def test_the_served_model_is_listed(server: RealServer, phi: Phi2Client) -> None:
    assert server.kind.model in phi.check()
