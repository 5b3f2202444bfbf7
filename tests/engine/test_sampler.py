from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phi2sdk.backends.engine.sampler import Chooser, choose, gumbel
from phi2sdk.sampling import Sampling
from tests.engine.conftest import transformers

VOCAB = 300
CPU = torch.device("cpu")


def frequencies(
    sampling: Sampling, logits: torch.Tensor, prompt: list[int], n: int
) -> torch.Tensor:
    """Shares ``[V]`` of the tokens that n seeds draw."""
    counts = torch.zeros(VOCAB)
    rows = []
    for seed in range(n):
        row = Chooser.start(sampling, prompt, VOCAB, CPU)
        row.seed = seed
        rows.append(row)
    tokens, _ = choose(logits.expand(n, -1), rows)
    counts.index_add_(0, tokens, torch.ones(n))
    return counts / n


def expected(sampling: Sampling, logits: torch.Tensor, prompt: list[int]) -> torch.Tensor:
    """The distribution ``[V]`` by transformers' own processors, in their order."""
    steps = transformers.LogitsProcessorList(
        [transformers.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)]
    )
    steps.append(transformers.TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k is not None:
        steps.append(transformers.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(transformers.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        steps.append(transformers.MinPLogitsWarper(sampling.min_p))
    scores: torch.Tensor = steps(torch.tensor([prompt]), logits.clone())
    return scores.softmax(-1)[0]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.5),
        Sampling(temperature=1.3, top_k=7),
        Sampling(temperature=1.0, top_p=0.7),
        Sampling(temperature=1.0, min_p=0.2),
        Sampling(temperature=0.9, repetition_penalty=1.8),
        Sampling(temperature=1.1, top_k=30, top_p=0.9, min_p=0.02, repetition_penalty=1.2),
    ],
)
def test_draws_follow_the_distribution_of_transformers_processors(sampling: Sampling) -> None:
    logits = torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(0)) * 2
    prompt = [3, 5, int(logits.argmax())]
    n = 6000
    share = frequencies(sampling, logits, prompt, n)
    wanted = expected(sampling, logits, prompt)
    assert (share[wanted == 0] == 0).all(), "a token outside the allowed set was drawn"
    # Pearson's statistic over the likely tokens, against its mean plus six standard deviations.
    likely = wanted * n >= 5
    statistic = ((share - wanted) ** 2 / wanted)[likely].sum() * n
    freedom = int(likely.sum())
    assert statistic < freedom + 6 * (2 * freedom) ** 0.5


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_row_draws_the_same_alone_and_among_others(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 8))
    mine = data.draw(st.integers(0, count - 1))
    logits = torch.randn(count, VOCAB, generator=torch.Generator().manual_seed(count))
    samplings = [
        Sampling(
            temperature=data.draw(st.sampled_from([0.0, 0.7, 1.0])),
            top_k=data.draw(st.sampled_from([None, 1, 5, 1000])),
            top_p=data.draw(st.sampled_from([1.0, 0.5])),
            min_p=data.draw(st.sampled_from([0.0, 0.1])),
            repetition_penalty=data.draw(st.sampled_from([1.0, 1.5])),
            seed=index,
        )
        for index in range(count)
    ]
    together, logprobs = choose(logits, [Chooser.start(s, [1, 2], VOCAB, CPU) for s in samplings])
    alone, logprob = choose(
        logits[mine : mine + 1], [Chooser.start(samplings[mine], [1, 2], VOCAB, CPU)]
    )
    assert int(alone) == int(together[mine])
    assert float(logprob) == pytest.approx(float(logprobs[mine]), abs=1e-6)


def test_a_penalty_falls_on_the_tokens_of_prompt_and_answer() -> None:
    logits = torch.zeros(1, 4)
    logits[0] = torch.tensor([4.0, 3.9, 3.8, -1.0])
    row = Chooser.start(Sampling(repetition_penalty=2.0), [0], 4, CPU)
    chosen = [int(choose(logits, [row])[0]) for _ in range(3)]
    assert chosen == [1, 2, 0]
    assert logits[0].tolist() == pytest.approx([4.0, 3.9, 3.8, -1.0])


def test_a_wide_nucleus_is_found_beyond_the_first_few_hundred() -> None:
    logits = torch.zeros(1, 5000)
    logits[0, 3000:] = -30
    tokens, _ = choose(
        logits.expand(400, -1),
        [Chooser(Sampling(temperature=1.0, top_p=0.9), seed) for seed in range(400)],
    )
    assert tokens.max() < 3000
    assert len(set(tokens.tolist())) > 300


def test_noise_is_gumbel_and_differs_by_seed_step_and_token() -> None:
    keys = [(seed, step) for seed in (0, 1, 2**63 - 1) for step in range(40)]
    noise = gumbel(keys, torch.zeros(1, 1000))
    assert noise.isfinite().all()
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.02)
    assert float(noise.std()) == pytest.approx(1.2825, abs=0.02)
    correlation = torch.corrcoef(noise)
    off = correlation - torch.eye(len(keys))
    assert float(off.abs().max()) < 0.2
    assert (
        float(
            torch.corrcoef(torch.stack((noise[:, 1:].flatten(), noise[:, :-1].flatten())))[
                0, 1
            ].abs()
        )
        < 0.02
    )
