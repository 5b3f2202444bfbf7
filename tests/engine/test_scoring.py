from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.scoring import Pass, packed
from phi2sdk.errors import ContextLengthExceeded, InvalidRequest
from phi2sdk.sampling import Sampling

PROMPT, TEXT = [5, 6, 7, 8], [9, 10, 11, 12, 13]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_scores_are_those_of_the_whole_distribution(
    tiny: LocalModel, reference: Any, temperature: float
) -> None:
    score = tiny.score(PROMPT, TEXT, temperature=temperature)
    with torch.inference_mode():
        logits = reference(torch.tensor([PROMPT + TEXT])).logits[0, len(PROMPT) - 1 : -1].double()
    logp = (logits / temperature).log_softmax(-1)
    p = logp.exp()
    entropy = -(p * logp).sum(-1)
    variance = (p * logp**2).sum(-1) - entropy**2
    best = logits.topk(2, -1)
    assert score.ids == tuple(TEXT)
    wanted = [float(row[id]) for row, id in zip(logp, TEXT, strict=True)]
    assert score.logprob == pytest.approx(wanted, abs=1e-4)
    assert score.entropy == pytest.approx(entropy.tolist(), abs=1e-4)
    assert score.variance == pytest.approx(variance.tolist(), abs=1e-3)
    assert score.argmax == tuple(best.indices[:, 0].tolist())
    assert score.best == pytest.approx(logp.max(-1).values.tolist(), abs=1e-4)
    regret = [float(row.max() - row[id]) for row, id in zip(logp, TEXT, strict=True)]
    assert score.regret == pytest.approx(regret, abs=1e-4)
    margin = (best.values[:, 0] - best.values[:, 1]).tolist()
    assert score.margin == pytest.approx(margin, abs=1e-4)
    assert score.total == pytest.approx(sum(wanted), abs=1e-3)


def test_a_generated_answer_scores_what_its_steps_said(tiny: LocalModel) -> None:
    steps = list(tiny.tokens("Alice:", Sampling(max_tokens=20, temperature=1.0, seed=2)))
    score = tiny.score("Alice:", [step.id for step in steps])
    assert score.logprob == pytest.approx([step.logprob for step in steps], abs=1e-4)


def test_many_at_once_score_as_each_alone(tiny: LocalModel) -> None:
    generator = torch.Generator().manual_seed(0)

    def some(count: int) -> list[int]:
        return torch.randint(0, 400, (count,), generator=generator).tolist()

    pairs = [(some(1 + i * 3 % 40), some(1 + i * 7 % 90)) for i in range(40)]
    for (prompt, text), score in zip(pairs, tiny.score_many(pairs), strict=True):
        alone = tiny.score(prompt, text)
        assert score.ids == tuple(text)
        assert score.logprob == pytest.approx(alone.logprob, abs=1e-4)
        assert score.variance == pytest.approx(alone.variance, abs=1e-3)


def test_a_beginning_that_sequences_share_is_computed_once_and_changes_no_score(
    tiny: LocalModel,
) -> None:
    prompt = list(range(50, 90))
    texts = [[1, 2, 3, 4, 5], [1, 2, 3], [1, 2, 3], [1, 7], [8]]
    pairs = [(prompt, text) for text in texts] + [(prompt[:10], prompt[10:]), ([9], [9])]
    (batch,) = packed(pairs)
    assert len(Pass.of(batch).ids) == len(prompt) + 4 + 1  # the last token predicts nothing
    for pair, score in zip(pairs, tiny.score_many(pairs), strict=True):
        assert score.logprob == pytest.approx(tiny.score(*pair).logprob, abs=1e-4)


def test_a_pass_is_limited_by_the_tokens_that_it_computes() -> None:
    prompt = [1] * 500
    assert [len(batch) for batch in packed([(prompt, [2] * 20 + [i]) for i in range(40)])] == [40]
    assert [len(batch) for batch in packed([([i, *prompt], [2]) for i in range(5)])] == [2, 2, 1]


def test_logits_stay_within_their_bound(tiny: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tiny.score(PROMPT, TEXT * 30)
    sizes = []
    logits = tiny.phi.logits

    def watched(x: torch.Tensor) -> torch.Tensor:
        sizes.append(x.shape[0] * 400 * 4)
        return logits(x)

    monkeypatch.setattr(tiny.phi, "logits", watched)
    bound = 64_000
    (score,) = tiny.score_many([(PROMPT, TEXT * 30)], logits_bytes=bound)
    assert len(sizes) > 1
    assert max(sizes) * 4 <= bound
    assert score.logprob == pytest.approx(whole.logprob, abs=1e-4)


def test_a_sharp_distribution_has_no_entropy_and_a_flat_one_the_most(tiny: LocalModel) -> None:
    cold, hot = (tiny.score(PROMPT, TEXT, temperature=t) for t in (0.01, 1e6))
    assert max(cold.entropy) < 0.5
    assert hot.entropy == pytest.approx([math.log(400)] * len(TEXT), abs=1e-3)
    assert hot.variance == pytest.approx([0.0] * len(TEXT), abs=1e-3)


@pytest.mark.parametrize(
    ("prompt", "text", "temperature", "error"),
    [
        ("", "a", 1.0, InvalidRequest),
        ("a", "", 1.0, InvalidRequest),
        ("a", "b", 0.0, InvalidRequest),
        ("a", [400], 1.0, InvalidRequest),
        ([1] * 200, [1] * 58, 1.0, ContextLengthExceeded),
    ],
)
def test_what_cannot_be_scored_is_refused(
    tiny: LocalModel, prompt: Any, text: Any, temperature: float, error: type[Exception]
) -> None:
    with pytest.raises(error):
        tiny.score(prompt, text, temperature=temperature)


def test_the_last_token_of_a_scored_text_needs_no_place_in_the_context(tiny: LocalModel) -> None:
    assert len(tiny.score([1] * 200, [1] * 57).ids) == 57


def test_likelihoods_are_the_totals_of_the_scores(tiny: LocalModel) -> None:
    """Also for texts that the model writes, which begin alike, and that need several blocks."""
    pairs = [([1, 2, 3], [4, 5]), ([1, 2, 3], [4, 6]), ([7], [8]), ([1] * 50, [9] * 150)]
    best = [([1, 2, 3], [*tiny.score([1, 2, 3], [4]).argmax])]
    scores = list(tiny.score_many([*pairs, *best]))
    found = list(tiny.likelihoods([*pairs, *best]))
    assert [one[0] for one in found] == pytest.approx([score.total for score in scores], abs=1e-4)
    assert [one[1] for one in found] == [score.argmax == score.ids for score in scores]
    assert found[-1][1]
