"""Exact divergences, compared with sums over the whole vocabulary and with sampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.likelihood import divergences, log_likelihood, text_sums
from phi2sdk.backends.engine.scoring import packed_hidden
from phi2sdk.demo import checkpoint_path
from phi2sdk.sampling import Sampling

PLAIN = Sampling(max_tokens=12, temperature=1.0)
PROMPT = "Instruct: Write a paragraph about tides.\nOutput:"
ROUNDING = 1e-5
"""Nats a text, in float32. A top_k shifts every log-probability of a place alike, so that its
divergence has no noise but this."""
Pairs = list[tuple[list[int], list[int]]]


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load(checkpoint_path(), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def int4() -> LocalModel:
    return LocalModel.load(checkpoint_path(), quantize="int4", device="cpu")


def _written(author: LocalModel, sampling: Sampling, count: int) -> Pairs:
    prompt = author.encode(PROMPT)
    found: Pairs = []
    for seed in range(count):
        steps = author.tokens(PROMPT, replace(sampling, seed=seed))
        if ids := [step.id for step in steps if not step.special]:
            found.append((prompt, ids))
    return found


def test_the_divergence_is_the_sum_over_the_vocabulary(model: LocalModel, int4: LocalModel) -> None:
    texts = _written(int4, PLAIN, 3)
    found = divergences(int4, PLAIN, model, texts, texts)
    with torch.inference_mode():
        states = [(one.phi, packed_hidden(one.phi, texts[:1])) for one in (int4, model)]
        logits = [phi.logits(hidden) for phi, hidden in states]
    q, p = (one.double().clone() for one in logits)
    for id in model.eos_ids:
        q[:, id] = p[:, id] = -1e9
    q, p = q.log_softmax(-1), p.log_softmax(-1)
    kl = (q.exp() * (q - p)).sum()
    drift = (q.exp() * p).sum() - (p.exp() * p).sum()
    assert found[0].kl == pytest.approx(float(kl), rel=1e-3)
    assert found[0].drift == pytest.approx(float(drift), abs=1e-3)


def test_divergence_and_noise_add_up_to_what_the_text_says(
    model: LocalModel, int4: LocalModel
) -> None:
    texts = _written(int4, PLAIN, 6)
    found = divergences(int4, PLAIN, model, texts, texts)
    own, other = log_likelihood(int4, texts), text_sums(model, texts)
    for at, one in enumerate(found):
        assert one.kl >= 0
        assert one.kl + one.kl_noise == pytest.approx(own[at] - other.logp[at], abs=2e-3)
        assert one.drift + one.drift_noise == pytest.approx(other.drift[at], abs=2e-3)


def test_a_model_does_not_diverge_from_itself(model: LocalModel) -> None:
    texts = _written(model, PLAIN, 3)
    for one in divergences(model, PLAIN, model, texts, texts):
        assert one.kl == pytest.approx(0, abs=1e-4)
        assert one.drift == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("change", [{"temperature": 0.7}, {"top_p": 0.8}, {"top_k": 5}])
def test_the_noise_of_a_sampler_has_the_mean_0(model: LocalModel, change: dict[str, float]) -> None:
    sampling = replace(PLAIN, **change)  # type: ignore[arg-type]
    texts = _written(model, sampling, 60)
    found = np.array(divergences(model, sampling, model, texts, texts))  # [n, 4]
    assert found[:, 0].sum() > 1
    for column in (1, 3):
        error = found[:, column].std() / np.sqrt(len(found))
        assert abs(found[:, column].mean()) < 4 * error + ROUNDING


def test_little_memory_for_the_logits_changes_nothing(model: LocalModel, int4: LocalModel) -> None:
    texts = _written(int4, PLAIN, 2)
    whole = divergences(int4, PLAIN, model, texts, texts)
    small = divergences(int4, PLAIN, model, texts, texts, logits_bytes=1)
    assert np.allclose(whole, small, atol=1e-3)


def test_a_token_that_the_author_could_not_draw_spoils_nothing(model: LocalModel) -> None:
    sampling = replace(PLAIN, top_k=1)
    prompt = model.encode(PROMPT)
    texts = [(prompt, model.encode(" xyz"))]
    (found,) = divergences(model, sampling, model, texts, texts)
    assert np.isfinite(found).all()
