from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.cache import ChunkAttend, SlotCache
from phi2sdk.errors import ContextLengthExceeded, InvalidRequest
from phi2sdk.sampling import Sampling
from tests.engine.conftest import Greedy, generate, load_reference, save_tiny


def logits(model: LocalModel, ids: list[int]) -> torch.Tensor:
    """``[N, V]`` of a text read in two pieces, so that the cache takes part."""
    phi = model.phi
    cache = SlotCache(phi.config.shape, 1, len(ids), phi.dtype, phi.device)
    rows = []
    half = len(ids) // 2
    with torch.inference_mode():
        for start, part in ((0, ids[:half]), (half, ids[half:])):
            positions = torch.arange(start, start + len(part))
            attend = ChunkAttend(cache, 0, start, len(part))
            rows.append(phi.logits(phi.hidden(torch.tensor(part), positions, attend)))
    return torch.cat(rows)


def test_logits_are_those_of_transformers(tiny: LocalModel, reference: Any) -> None:
    ids = torch.randint(0, 400, (50,), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.inference_mode():
        expected = reference(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(logits(tiny, ids), expected, atol=1e-4, rtol=1e-4)


def test_grouped_key_value_heads_are_understood(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, num_attention_heads=4, num_key_value_heads=2, hidden_size=80)
    model = LocalModel.load(folder, dtype="float32", device="cpu")
    reference = load_reference(folder)
    with torch.inference_mode():
        expected = reference(torch.tensor([[5, 6, 7, 8, 9]])).logits[0]
    torch.testing.assert_close(logits(model, [5, 6, 7, 8, 9]), expected, atol=1e-4, rtol=1e-4)


def test_greedy_tokens_are_those_of_generate(tiny: LocalModel, greedy: Greedy) -> None:
    for prompt in ("Alice: naïve café\nBob:", "a", "Instruct: long 日本語 text\nOutput:"):
        steps = list(tiny.tokens(prompt, Sampling(max_tokens=40)))
        assert [step.id for step in steps] == greedy(tiny.encode(prompt), 40)


def test_the_bundled_checkpoint_answers_as_generate_does() -> None:
    model = LocalModel.load("demo", dtype="float32", device="cpu")
    folder = Path(__file__).parents[2] / "phi2sdk" / "demo" / "checkpoint"
    reference = load_reference(folder)
    ids = model.encode("Instruct: Write a paragraph about rivers.\nOutput:")
    expected = generate(reference, ids, 60)
    steps = list(model.tokens(model.decode(ids), Sampling(max_tokens=60)))
    assert [step.id for step in steps] == expected


def test_texts_of_the_steps_are_the_text_of_the_tokens(tiny: LocalModel) -> None:
    sampling = Sampling(max_tokens=120, temperature=2.0, seed=5)
    steps = list(tiny.tokens("😀", sampling))
    assert "".join(step.text for step in steps) == tiny.decode([step.id for step in steps])


def test_the_log_probability_is_the_models_own(tiny: LocalModel) -> None:
    prompt = tiny.encode("Bob:")
    sampling = Sampling(max_tokens=8, temperature=1.7, top_k=3, repetition_penalty=1.5, seed=1)
    steps = list(tiny.tokens("Bob:", sampling))
    ids = [step.id for step in steps]
    expected = logits(tiny, prompt + ids)[len(prompt) - 1 : -1].log_softmax(-1)
    for row, step in zip(expected, steps, strict=True):
        assert step.logprob == pytest.approx(float(row[step.id]), abs=1e-4)


def test_end_of_text_ends_the_answer_with_a_special_step(tmp_path: Path) -> None:
    every_token = list(range(400))
    model = LocalModel.load(save_tiny(tmp_path, eos_token_id=every_token), device="cpu")
    steps = list(model.tokens("a", Sampling(max_tokens=5)))
    assert [step.special for step in steps] == [True]


def test_a_seed_repeats_and_none_does_not(tiny: LocalModel) -> None:
    def ids(seed: int | None) -> list[int]:
        sampling = Sampling(max_tokens=30, temperature=1.5, seed=seed)
        return [step.id for step in tiny.tokens("Alice:", sampling)]

    assert ids(7) == ids(7)
    assert ids(7) != ids(8)
    assert ids(None) != ids(None)


def test_several_threads_may_generate_at_once(tiny: LocalModel) -> None:
    def ids(seed: int) -> list[int]:
        return [s.id for s in tiny.tokens("a", Sampling(max_tokens=20, temperature=1, seed=seed))]

    alone = [ids(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ids, range(6))) == alone


def test_canceling_ends_generation_with_the_current_step(tiny: LocalModel) -> None:
    cancelled = threading.Event()
    steps = tiny.tokens("a", Sampling(max_tokens=200), cancelled=cancelled)
    next(steps)
    cancelled.set()
    assert len(list(steps)) <= 1


def test_what_exceeds_the_context_is_refused_with_the_numbers(tiny: LocalModel) -> None:
    prompt = "a" * 300
    count = len(tiny.encode(prompt))
    with pytest.raises(ContextLengthExceeded, match=rf"alone .* has {count} tokens of at most 256"):
        tiny.tokens(prompt, Sampling(max_tokens=200))


def test_a_prompt_longer_than_the_context_is_not_advised_to_lower_max_tokens(
    tiny: LocalModel,
) -> None:
    tiny.check_fits(200, 56)
    with pytest.raises(ContextLengthExceeded, match=r"max_tokens to at most 56$"):
        tiny.check_fits(200, 57)
    for prompt, count in ((256, "256"), (5006, "5,006")):
        said = rf"the prompt alone .* {count} tokens of at most 256\. Shorten the prompt$"
        with pytest.raises(ContextLengthExceeded, match=said):
            tiny.check_fits(prompt, 1)


def test_a_prompt_may_fill_the_context_to_the_last_token(tiny: LocalModel) -> None:
    room = tiny.context_length - len(tiny.encode("a"))
    sampling = Sampling(max_tokens=room, temperature=3.0, seed=2, repetition_penalty=1.2)
    assert 0 < len(list(tiny.tokens("a", sampling))) <= room


def test_a_prompt_without_tokens_is_refused(tiny: LocalModel) -> None:
    with pytest.raises(InvalidRequest):
        tiny.tokens("", Sampling())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays_close_to_float32(
    tiny_folder: Path, tiny: LocalModel, dtype: str
) -> None:
    half = LocalModel.load(tiny_folder, dtype=dtype, device="cpu")  # type: ignore[arg-type]
    assert half.dtype == dtype
    ids = tiny.encode("Instruct: the long text\nOutput:")
    wide, narrow = logits(tiny, ids).log_softmax(-1), logits(half, ids).log_softmax(-1)
    divergence = (wide.exp() * (wide - narrow)).sum(-1).mean()
    assert divergence < (1e-3 if dtype == "float16" else 2e-2)


def test_amplified_queries_stay_finite_in_float16_where_eager_attention_overflows(
    tmp_path: Path,
) -> None:
    folder = save_tiny(tmp_path / "plain", hidden_size=160, num_attention_heads=2)
    reference = load_reference(folder)
    with torch.no_grad():
        for layer in reference.model.layers:
            for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
                projection.weight.mul_(20)
                projection.bias.mul_(20)
    reference.save_pretrained(tmp_path / "loud")
    (tmp_path / "loud" / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    ids = torch.randint(0, 400, (40,), generator=torch.Generator().manual_seed(3)).tolist()
    eager = load_reference(tmp_path / "loud", dtype=torch.float16, attention="eager")
    with torch.inference_mode():
        overflowed = eager(torch.tensor([ids])).logits
    wide = logits(LocalModel.load(tmp_path / "loud", dtype="float32", device="cpu"), ids)
    half = logits(LocalModel.load(tmp_path / "loud", dtype="float16", device="cpu"), ids)
    assert not overflowed.isfinite().all()
    assert half.isfinite().all()
    assert (half.argmax(-1) == wide.argmax(-1)).float().mean() > 0.9
