from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.decode import CompiledStep, GraphStep
from phi2sdk.backends.engine.memory import PREFILL_TOKENS
from phi2sdk.backends.engine.slots import Row, Slots
from phi2sdk.sampling import Sampling
from tests.engine.conftest import generate, load_reference, save_tiny

TIE = 1e-4
"""A greedy token may differ where the reference's two best logits lie closer than this."""


def run_alone(model: LocalModel, prompt: list[int], sampling: Sampling) -> list[int]:
    """One sequence in a cache of its own."""
    return run(Slots(model.phi, 1), [(prompt, sampling)])[0]


def run(
    slots: Slots,
    requests: list[tuple[list[int], Sampling]],
    *,
    at: list[int] | None = None,
    leaving: dict[int, int] | None = None,
) -> list[list[int]]:
    """Tokens of each request.

    Args:
        slots: Where they run.
        requests: Prompt and sampling.
        at: The step at which each is there to join; at once if not given.
        leaving: Request -> the number of tokens after which it leaves.
    """
    waiting = sorted(range(len(requests)), key=lambda i: at[i] if at else 0)
    rows: dict[Row, int] = {}
    answers: list[list[int]] = [[] for _ in requests]
    step = 0
    while waiting or rows:
        while waiting and slots.free and (not at or at[waiting[0]] <= step):
            index = waiting.pop(0)
            rows[slots.join(*requests[index])] = index
        for token in slots.step():
            index = rows[token.row]
            answers[index].append(token.id)
            end = (leaving or {}).get(index, requests[index][1].max_tokens)
            if len(answers[index]) == end:
                slots.leave(token.row)
                del rows[token.row]
        step += 1
    assert slots.free == slots.cache.slots
    return answers


def assert_same_or_tied(reference: Any, prompt: list[int], got: list[int], want: list[int]) -> int:
    """Equal, or first different at a near-tie of the reference's; how many ties (0 or 1)."""
    different = [i for i, (a, b) in enumerate(zip(got, want, strict=True)) if a != b]
    if not different:
        return 0
    with torch.inference_mode():
        logits = reference(torch.tensor([prompt + want[: different[0]]])).logits[0, -1]
    best, second = logits.topk(2).values.tolist()
    assert best - second < TIE, f"differs at token {different[0]} without a tie"
    return 1


def prompts(count: int, *, longest: int, seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(1, 400) for _ in range(rng.randint(1, longest))] for _ in range(count)]


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_greedy_tokens_are_those_of_generate_in_any_mix_of_joining_and_leaving(
    data: st.DataObject, tiny: LocalModel, reference: Any
) -> None:
    count = data.draw(st.integers(1, 9), "requests")
    slots = Slots(
        tiny.phi,
        data.draw(st.integers(1, 5), "slots"),
        prefill_among=data.draw(st.sampled_from([1, 7, 64]), "prefill_among"),
        ahead=data.draw(st.booleans(), "ahead"),
    )
    texts = prompts(count, longest=100, seed=data.draw(st.integers(0, 10**6), "seed"))
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=count, max_size=count), "lengths")
    at = data.draw(st.lists(st.integers(0, 12), min_size=count, max_size=count), "arrivals")
    leaving = {
        index: data.draw(st.integers(1, lengths[index]))
        for index in data.draw(st.sets(st.integers(0, count - 1), max_size=3), "leaving")
    }
    requests = [
        (text, Sampling(max_tokens=length)) for text, length in zip(texts, lengths, strict=True)
    ]
    for index, answer in enumerate(run(slots, requests, at=at, leaving=leaving)):
        want = generate_forced(reference, texts[index], lengths[index])[: len(answer)]
        assert_same_or_tied(reference, texts[index], answer, want)


def generate_forced(reference: Any, prompt: list[int], max_tokens: int) -> list[int]:
    """``generate`` that does not end at the end-of-text token, as slots do not either."""
    eos = reference.generation_config.eos_token_id
    reference.generation_config.eos_token_id = None
    try:
        return generate(reference, prompt, max_tokens)
    finally:
        reference.generation_config.eos_token_id = eos


def test_two_hundred_greedy_answers_are_those_of_generate(tiny: LocalModel, reference: Any) -> None:
    texts = prompts(200, longest=60, seed=11)
    requests = [(text, Sampling(max_tokens=3 + index % 5)) for index, text in enumerate(texts)]
    ties = 0
    for text, (_, sampling), answer in zip(
        texts, requests, run(Slots(tiny.phi, 16), requests), strict=True
    ):
        want = generate_forced(reference, text, sampling.max_tokens)
        ties += assert_same_or_tied(reference, text, answer, want)
    assert ties <= 2


def test_a_seeded_request_gives_the_same_tokens_alone_and_among_fifteen_others(
    tiny: LocalModel,
) -> None:
    texts = prompts(16, longest=80, seed=4)
    requests = [
        (
            text,
            Sampling(
                max_tokens=25,
                temperature=0.5 + index / 10,
                top_k=None if index % 3 else 20,
                top_p=1.0 if index % 2 else 0.9,
                repetition_penalty=1.0 if index % 5 else 1.2,
                seed=index,
            ),
        )
        for index, text in enumerate(texts)
    ]
    together = run(Slots(tiny.phi, 16), requests)
    assert together == [run_alone(tiny, *request) for request in requests]


def test_launching_ahead_changes_no_token(tiny: LocalModel) -> None:
    requests = [
        (text, Sampling(max_tokens=10, temperature=1.0, seed=index, repetition_penalty=1.1))
        for index, text in enumerate(prompts(12, longest=90, seed=5))
    ]
    assert run(Slots(tiny.phi, 4, ahead=True), requests) == run(Slots(tiny.phi, 4), requests)


def test_rows_padded_to_a_captured_shape_change_no_token(tiny: LocalModel) -> None:
    """Test the steps that a GPU replays as graphs, without capturing."""
    padded = partial(GraphStep, capture=None)
    requests = [
        (text, Sampling(max_tokens=4 + index, temperature=float(index % 2), seed=index))
        for index, text in enumerate(prompts(14, longest=150, seed=6))
    ]
    for slots in (1, 5, 8):
        got = run(Slots(tiny.phi, slots, step=padded, ahead=True), requests)
        assert got == run(Slots(tiny.phi, slots), requests)


class Capture:
    """Captures nothing, and fails from the given shape on."""

    def __init__(self, failing: int, error: Exception) -> None:
        self.left = failing
        self.error = error
        self.failed = 0

    def __call__(self, operations: Callable[[], None]) -> Callable[[], None]:
        operations()
        self.left -= 1
        if self.left < 0:
            self.failed += 1
            raise self.error
        return operations


@pytest.mark.parametrize("failing", [0, 1, 3])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: operation not permitted when stream is capturing"),
        torch.OutOfMemoryError("CUDA out of memory"),
        NotImplementedError("no kernel for this capture"),
    ],
)
def test_a_failed_capture_is_reported_once_and_changes_no_token(
    tiny: LocalModel, failing: int, error: Exception
) -> None:
    capture = Capture(failing, error)
    requests = [
        (text, Sampling(max_tokens=4 + index, temperature=float(index % 2), seed=index))
        for index, text in enumerate(prompts(9, longest=150, seed=7))
    ]
    slots = Slots(tiny.phi, 5, step=partial(GraphStep, capture=capture), ahead=True)
    with pytest.warns(UserWarning, match=f"launched operation by operation.*{error}") as warned:
        got = run(slots, requests)
    assert got == run(Slots(tiny.phi, 5), requests)
    assert (len(warned), capture.failed) == (1, 1)


def test_every_shape_can_be_prepared_before_any_request(tiny: LocalModel) -> None:
    slots = Slots(tiny.phi, 6)
    step = GraphStep(tiny.phi, slots.cache, capture=None)
    with torch.inference_mode():
        step.prepare_all()
    assert set(step._shapes) == {(rows, kv) for rows in (1, 2, 4, 6) for kv in (128, 256)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
def test_a_compiled_step_changes_no_token(tiny: LocalModel) -> None:
    """Traced, but not made into code, which takes half a minute: bench/local.py does that."""
    step = partial(CompiledStep, backend="aot_eager")
    requests = [([1 + seed, 2, 3, 4], Sampling(max_tokens=6)) for seed in range(2)]
    assert run(Slots(tiny.phi, 2, step=step), requests) == run(Slots(tiny.phi, 2), requests)


def test_a_prompt_longer_than_a_piece_is_processed_without_rows_in_decode(tmp_path: Path) -> None:
    """Steps that only read make no token."""
    model = LocalModel.load(
        save_tiny(tmp_path, max_position_embeddings=1024), dtype="float32", device="cpu"
    )
    prompt = [1 + i % 390 for i in range(2 * PREFILL_TOKENS + 5)]
    slots = Slots(model.phi, 2)
    slots.join(prompt, Sampling(max_tokens=3))
    steps = [[token.id for token in slots.step()] for _ in range(5)]
    answer = generate(load_reference(tmp_path), prompt, 3)
    assert steps == [[], [], *([id] for id in answer)]


def test_a_joining_prompt_is_read_in_pieces_while_others_write(tiny: LocalModel) -> None:
    slots = Slots(tiny.phi, 2, prefill_among=10)
    writer = slots.join([1, 2, 3], Sampling())
    slots.step()
    joiner = slots.join(list(range(1, 96)), Sampling())
    for _ in range(9):  # 95 tokens by 10, the writer never without its token
        assert [token.row for token in slots.step()] == [writer]
    assert {token.row for token in slots.step()} == {writer, joiner}


def test_a_row_that_leaves_while_it_is_read_frees_its_slot(tiny: LocalModel) -> None:
    slots = Slots(tiny.phi, 3, prefill_among=5)
    first = slots.join([1, 2], Sampling())
    slots.step()
    reading = slots.join(list(range(1, 40)), Sampling())
    behind = slots.join([7, 8, 9], Sampling())
    slots.step()
    slots.leave(reading)
    slots.leave(reading)
    assert slots.free == 1
    tokens = {token.row: token.id for token in slots.step()}
    assert tokens[behind] == run_alone(tiny, [7, 8, 9], Sampling(max_tokens=1))[0]
    assert first in tokens


def test_a_row_that_overflowed_leaves_no_nan_behind(tiny: LocalModel) -> None:
    slots = Slots(tiny.phi, 2)
    sick, well = slots.join([1, 2, 3], Sampling()), slots.join([4] * 20, Sampling())
    slots.step()
    for kept in (*slots.cache.keys, *slots.cache.values):
        kept[0] = torch.nan
    tokens = {token.row: token.logprob for token in slots.step()}
    assert tokens[sick] != tokens[sick]
    assert tokens[well] == tokens[well]
    slots.leave(sick, scrub=True)
    slots.leave(well)
    want = run_alone(tiny, [5, 6], Sampling(max_tokens=5))
    both = run(slots, [([5, 6], Sampling(max_tokens=5)), ([9] * 40, Sampling(max_tokens=5))])
    assert both[0] == want
