from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.changed_sampling import EPSILON, Truncation
from phi2sdk.backends.engine.likelihood import log_likelihood, text_sums
from phi2sdk.backends.engine.scoring import PromptAndText
from tests.engine.conftest import save_tiny

EOS = 0
CUTS = {
    "top_p=0.9": Truncation(top_p=0.9),
    "top_k=5": Truncation(top_k=5),
    "both": Truncation(top_p=0.5, top_k=3),
    "min_p": Truncation(min_p=0.1),
    "all": Truncation(top_p=1.0),
}
BETAS = (0.5, 1.0, 2.0)


def some(count: int = 12, most: int = 40) -> list[PromptAndText]:
    generator = torch.Generator().manual_seed(0)

    def ids(length: int) -> list[int]:
        return torch.randint(1, 400, (length,), generator=generator).tolist()

    return [(ids(1 + i * 3 % 20), ids(1 + i * 7 % most)) for i in range(count)]


def logits_of(reference: Any, prompt: Any, text: Any) -> torch.Tensor:
    """``[T, V]`` in float64, as transformers has them."""
    with torch.inference_mode():
        whole = reference(torch.tensor([[*prompt, *text]])).logits[0, len(prompt) - 1 : -1]
    return torch.as_tensor(whole).double()


def test_residuals_are_summed_up_to_each_end_beside_the_other_sums(tiny: LocalModel) -> None:
    texts = some()
    ends = [(1, len(text)) for _, text in texts]
    found = text_sums(tiny, texts, ends=ends, betas=BETAS, residuals=True)
    plain = text_sums(tiny, texts, ends=ends, betas=BETAS)
    assert plain.residuals.shape == (len(found.tokens), 0)
    assert found.loglik == pytest.approx(plain.loglik)
    short = text_sums(tiny, [(prompt, text[:1]) for prompt, text in texts], residuals=True)
    assert found.residuals[::2] == pytest.approx(short.residuals, abs=1e-4)
    assert np.abs(found.residuals[1::2]).sum() > np.abs(short.residuals).sum()


def test_the_sums_are_those_of_the_distribution_without_end_of_text(
    tiny: LocalModel, reference: Any
) -> None:
    texts = some()
    found = text_sums(tiny, texts, betas=BETAS)
    for row, (prompt, text) in enumerate(texts):
        x = logits_of(reference, prompt, text)
        x[:, EOS] = -torch.inf
        logp = x.log_softmax(-1)
        p, safe = logp.exp(), logp.nan_to_num(neginf=0.0)
        entropy = -(p * safe).sum(-1)
        variance = (p * safe**2).sum(-1) - entropy**2
        own = logp[torch.arange(len(text)), torch.tensor(text)]
        assert found.tokens[row] == len(text)
        assert found.logp[row] == pytest.approx(float(own.sum()), abs=1e-3)
        assert found.entropy[row] == pytest.approx(float(entropy.sum()), abs=1e-3)
        assert found.variance[row] == pytest.approx(float(variance.sum()), rel=1e-3)
        assert found.drift[row] == pytest.approx(float((own + entropy).sum()), abs=2e-3)
        for column, beta in enumerate(BETAS):
            hot = (x * beta).log_softmax(-1)[torch.arange(len(text)), torch.tensor(text)]
            assert found.loglik[row, column] == pytest.approx(float(hot.sum()), abs=2e-3)


def test_a_truncated_sampler_keeps_what_the_sampler_keeps_and_mixes_the_rest(
    tiny: LocalModel, reference: Any
) -> None:
    texts = some()
    found = text_sums(tiny, texts, truncations=CUTS)
    for row, (prompt, text) in enumerate(texts):
        x = logits_of(reference, prompt, text)
        p = x.softmax(-1)
        masked = x.clone()
        masked[:, EOS] = -torch.inf
        whole = masked.softmax(-1)
        for name, cut in CUTS.items():
            total = 0.0
            for t, id in enumerate(text):
                order = p[t].argsort(descending=True)
                before = p[t][order].cumsum(0) - p[t][order]
                size = int((before < cut.top_p).sum()) if cut.top_p is not None else len(order)
                least = float(p[t].max()) * (cut.min_p or 0.0)
                kept = order[: min(size, cut.top_k or size, int((p[t] >= least).sum()))]
                mass = float(whole[t][kept].sum())
                inside = float(whole[t][id]) / mass if id in kept.tolist() else 0.0
                total += np.log((1 - EPSILON) * inside + EPSILON * float(whole[t][id]))
            assert found.truncated[name][row] == pytest.approx(total, abs=5e-3), name
    assert found.truncated["all"] == pytest.approx(found.logp, abs=1e-4)


def test_a_repetition_penalty_lowers_the_tokens_of_prompt_and_answer_so_far(
    tiny: LocalModel, reference: Any
) -> None:
    texts = [*some(), ([7, 8, 7], [8, 8, 9, 7, 9])]
    found = text_sums(tiny, texts, penalties=(1.0, 1.3))
    for row, (prompt, text) in enumerate(texts):
        x = logits_of(reference, prompt, text)
        for t in range(len(text)):
            seen = list({*prompt, *text[:t]})
            x[t, seen] = torch.where(x[t, seen] > 0, x[t, seen] / 1.3, x[t, seen] * 1.3)
        x[:, EOS] = -torch.inf
        own = x.log_softmax(-1)[torch.arange(len(text)), torch.tensor(text)]
        assert found.penalized[row, 1] == pytest.approx(float(own.sum()), abs=2e-3)
    assert found.penalized[:, 0] == pytest.approx(found.logp, abs=1e-3)


def test_an_end_has_the_sums_of_the_text_up_to_it(tiny: LocalModel) -> None:
    prompt, text = [5, 6, 7], [9, 10, 9, 11, 5, 12]
    ends = [(6, 2), (0, 4), (1,)]
    sequences = [(prompt, text), (prompt, [*text[:3], 20]), ([8], [3])]
    found = text_sums(tiny, sequences, ends=ends, betas=BETAS, truncations=CUTS, penalties=(1.2,))
    cut = [(p, t[:end]) for (p, t), each in zip(sequences, ends, strict=True) for end in each]
    alone = text_sums(
        tiny, [one for one in cut if one[1]], betas=BETAS, truncations=CUTS, penalties=(1.2,)
    )
    rows = [0, 1, 3, 4]
    assert found.tokens.tolist() == [6, 2, 0, 4, 1]
    assert found.logp[2] == found.entropy[2] == found.penalized[2, 0] == 0
    assert found.variance[rows] == pytest.approx(alone.variance, abs=1e-3)
    assert found.loglik[rows] == pytest.approx(alone.loglik, abs=1e-3)
    assert found.penalized[rows] == pytest.approx(alone.penalized, abs=1e-3)
    for name, column in alone.truncated.items():
        assert found.truncated[name][rows] == pytest.approx(column, abs=1e-3)


def test_inverse_temperatures_that_are_no_multiples_are_refused(tiny: LocalModel) -> None:
    with pytest.raises(ValueError, match=r"multiples of 0\.025"):
        text_sums(tiny, some(), betas=(0.51,))


def test_end_of_text_changes_nothing_however_likely_it_is(tmp_path: Path) -> None:
    from transformers import PhiForCausalLM

    folder = save_tiny(tmp_path / "plain")
    plain = LocalModel.load(folder, dtype="float32", device="cpu")
    model = PhiForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.bias[EOS] += 30.0
    model.save_pretrained(folder)
    ending = LocalModel.load(folder, dtype="float32", device="cpu")
    texts = some()
    assert text_sums(ending, texts).logp == pytest.approx(text_sums(plain, texts).logp, abs=1e-3)
    assert log_likelihood(ending, texts) == pytest.approx(log_likelihood(plain, texts), abs=1e-3)
    sums = text_sums(ending, texts, betas=BETAS, truncations=CUTS)
    assert all(np.isfinite(column).all() for column in (sums.variance, sums.loglik, sums.entropy))


def test_the_log_likelihood_alone_is_that_of_all_sums(tiny: LocalModel) -> None:
    texts = some(40, 90)
    assert log_likelihood(tiny, texts) == pytest.approx(text_sums(tiny, texts).logp, abs=1e-3)
    assert log_likelihood(tiny, []).shape == (0,)
    assert text_sums(tiny, [], betas=BETAS).loglik.shape == (0, 3)


def test_logits_stay_within_their_bound_and_change_nothing(
    tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = some(6, 90)
    whole = text_sums(tiny, texts, betas=BETAS, truncations=CUTS)
    sizes = []
    logits = tiny.phi.logits

    def watched(x: torch.Tensor) -> torch.Tensor:
        sizes.append(x.shape[0] * 400 * 4)
        return logits(x)

    monkeypatch.setattr(tiny.phi, "logits", watched)
    bound = 64_000
    parts = text_sums(tiny, texts, betas=BETAS, truncations=CUTS, logits_bytes=bound)
    assert len(sizes) > 10
    assert max(sizes) * 6 <= bound
    assert parts.logp == pytest.approx(whole.logp, abs=1e-3)
    assert parts.loglik == pytest.approx(whole.loglik, abs=1e-3)
    assert parts.truncated["both"] == pytest.approx(whole.truncated["both"], abs=1e-3)


def test_a_vocabulary_of_51200_words_takes_no_more_memory_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = LocalModel.load(
        save_tiny(tmp_path / "wide", vocab_size=51_200), dtype="float32", device="cpu"
    )
    sizes = []
    logits = wide.phi.logits

    def watched(x: torch.Tensor) -> torch.Tensor:
        sizes.append(x.shape[0] * 51_200 * 4)
        return logits(x)

    monkeypatch.setattr(wide.phi, "logits", watched)
    found = text_sums(wide, some(12, 120), betas=BETAS, truncations=CUTS)
    assert max(sizes) * 6 <= 64 * 2**20
    assert len(sizes) > 1
    assert np.isfinite(found.loglik).all()
