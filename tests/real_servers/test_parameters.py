"""Each sampling parameter does on the server what its outcome in the receipt says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from phi2sdk import Phi2Client, Sampling, prompts
from phi2sdk.client.policies import leaves
from phi2sdk.completion import Completion, Request
from phi2sdk.errors import UnsupportedParameter
from phi2sdk.sampling import PARAMETERS, Rule
from tests.real_servers.reference import Reference, surprise
from tests.real_servers.servers import ROUTES, RealServer, Route
from tests.real_servers.test_greedy import PARAGRAPHS

OPEN = prompts.instruct("Write a paragraph about glass.")
LONG = [prompts.summarize(text) for text in list(PARAGRAPHS.values())[:6]]
DRAWS = 48

Check = Callable[[Phi2Client, Reference], Completion]


def takes_max_tokens(phi: Phi2Client, reference: Reference) -> Completion:
    answer = phi.generate(OPEN, max_tokens=5)
    assert answer.usage.output_billed is not None
    assert answer.usage.output_billed.value == 5
    assert answer.finish_reason == "length"
    return answer


def takes_temperature(phi: Phi2Client, reference: Reference) -> Completion:
    follows(phi, reference, Sampling(temperature=2.0))
    return follows(phi, reference, Sampling(temperature=0.5))


def takes_top_p(phi: Phi2Client, reference: Reference) -> Completion:
    follows(phi, reference, Sampling(temperature=2.0, top_p=0.4))
    return follows(phi, reference, Sampling(temperature=1.0, top_p=0.7))


def takes_top_k(phi: Phi2Client, reference: Reference) -> Completion:
    return follows(phi, reference, Sampling(temperature=2.0, top_k=5))


def takes_min_p(phi: Phi2Client, reference: Reference) -> Completion:
    follows(phi, reference, Sampling(temperature=2.0, min_p=0.2))
    return follows(phi, reference, Sampling(temperature=1.0, min_p=0.05))


def takes_repetition_penalty(phi: Phi2Client, reference: Reference) -> Completion:
    sampling = Sampling(max_tokens=60, repetition_penalty=1.5)
    changed = 0
    for prompt in LONG:
        answer = phi.generate(prompt, sampling)
        expected = reference.answer(prompt, sampling)
        assert answer.text == expected.text
        changed += expected.text != reference.answer(prompt, Sampling(max_tokens=60)).text
    assert changed > len(LONG) / 2
    return answer


def takes_seed(phi: Phi2Client, reference: Reference) -> Completion:
    texts = []
    for seed in (1, 1, 2, 2, 2**31 - 1, 2**31 - 1):
        answer = phi.generate(OPEN, max_tokens=16, temperature=1.5, seed=seed)
        texts.append(answer.text)
    assert texts[::2] == texts[1::2], "the same seed gives the same answer"
    assert len(set(texts)) == 3, "different seeds give different answers"
    return answer


def takes_stop(phi: Phi2Client, reference: Reference) -> Completion:
    whole = reference.answer(OPEN, Sampling(max_tokens=60)).text
    words = whole.split()
    stop = words[5]
    answer = phi.generate(OPEN, max_tokens=60, stop=[stop])
    assert answer.text == whole[: whole.index(stop)].strip()
    assert answer.finish_reason == "stop"
    assert answer.usage.output_billed is not None
    assert answer.usage.output_billed.value < 30, "the server stops, and not only the client"
    unseen = [f"unseen {number}" for number in range(6)]
    assert phi.generate(OPEN, max_tokens=60, stop=[*unseen, stop]).text == answer.text
    return answer


EFFECTS: Mapping[str, Check] = {
    "max_tokens": takes_max_tokens,
    "temperature": takes_temperature,
    "top_p": takes_top_p,
    "top_k": takes_top_k,
    "min_p": takes_min_p,
    "repetition_penalty": takes_repetition_penalty,
    "seed": takes_seed,
    "stop": takes_stop,
}
OTHERS: Mapping[str, Any] = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.3}


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_parameter_has_the_effect_that_its_fate_in_the_receipt_promises(
    name: str,
    route: Route,
    server: RealServer,
    by_route: Mapping[Route, Phi2Client],
    reference: Reference,
) -> None:
    phi = by_route[route]
    if phi.backend.dialect.rules.get(name, Rule()).key is None:
        value = OTHERS[name]
        with pytest.raises(UnsupportedParameter):
            phi.generate(OPEN, Sampling(max_tokens=4, temperature=1.0, **{name: value}))
        call = next(leaves(phi.backend)).outgoing(Request(OPEN, Sampling(max_tokens=4)))
        assert call is not None
        path = call.url.removeprefix(server.base_url)
        assert server.post(path, json.loads(call.body)) == 200
        assert server.post(path, {**json.loads(call.body), name: value}) in (400, 422)
        return
    answer = EFFECTS[name](phi, reference)
    assert answer.receipt.fate(name).fate in ("sent", "renamed")
    assert answer.receipt.fate(name).wire


def follows(phi: Phi2Client, reference: Reference, sampling: Sampling) -> Completion:
    """Draw first tokens: they come from the local model's distribution under the same sampling."""
    drawn = []
    for seed in range(DRAWS):
        answer = phi.generate(OPEN, replace(sampling, max_tokens=1, seed=seed))
        drawn.append(answer.raw_text)
    assert len(set(drawn)) > 1
    assert surprise(drawn, reference.first_token(OPEN, sampling)) < 4, sampling
    return answer
