"""Log-probabilities of a given text, prompts that are too long, and what the server reports."""

from __future__ import annotations

import pytest

from phi2sdk import Phi2Client, Sampling, prompts
from phi2sdk.errors import ContextLengthExceeded, InvalidRequest
from tests.real_servers.reference import Reference
from tests.real_servers.servers import CONTEXT, MODEL, RealServer
from tests.real_servers.test_greedy import PARAGRAPHS, ask

TEXT = next(iter(PARAGRAPHS.values()))
SHORT = Sampling(max_tokens=4)


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
def test_a_prompt_longer_than_the_context_is_refused_or_visibly_counted(
    server: RealServer, phi: Phi2Client, streamed: bool
) -> None:
    prompt = prompts.raw("glass and water " * CONTEXT)
    if server.kind.keeps_to_context:
        with pytest.raises(ContextLengthExceeded):
            ask(phi, prompt, SHORT, streamed=streamed)
        return
    answer = ask(phi, prompt, SHORT, streamed=streamed)
    assert answer.usage.input is not None
    assert answer.usage.input.value > CONTEXT


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_answer_that_the_context_ends_is_shown_as_clipped_in_the_receipt(
    server: RealServer, phi: Phi2Client, reference: Reference, streamed: bool
) -> None:
    prompt, room = reference.prompt_of(CONTEXT - 8), Sampling(max_tokens=40)
    answer = ask(phi, prompt, room, streamed=streamed)
    assert answer.usage.input is not None
    assert answer.usage.output_billed is not None
    assert answer.usage.input.value == CONTEXT - 8
    wrote = answer.usage.output_billed.value
    if server.kind.keeps_to_context:
        assert 0 < wrote <= 8
        assert answer.finish_reason == "length"
        assert answer.receipt.fate("max_tokens").fate == "clipped"
    else:
        assert wrote > 8
        assert answer.receipt.fate("max_tokens").fate == "sent"


def test_the_server_is_reachable_and_names_its_model(server: RealServer) -> None:
    with server.client() as phi:
        said = phi.check()
    assert MODEL in said if server.kind.lists_models else said.startswith("reachable")


def test_the_client_recognizes_the_server_without_a_setting(server: RealServer) -> None:
    with Phi2Client("openai", base_url=server.base_url, model=MODEL, attempts=1) as phi:
        found = phi.generate("x", SHORT).receipt.server
    assert found is not None
    # transformers serve has no path by which it could be recognized.
    expected = "unknown" if server.kind.server == "transformers" else server.kind.server
    assert found.name == expected
