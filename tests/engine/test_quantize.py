from __future__ import annotations

from pathlib import Path

import pytest
import torch

from phi2sdk.backends.engine import LocalModel, weights
from phi2sdk.backends.engine.phi import Matrix
from phi2sdk.backends.engine.weights import Int4Matrix, Int8Matrix, nibbles, quantize_matrix
from phi2sdk.errors import ConfigurationError
from phi2sdk.sampling import Sampling

OPEN_ENDED = "Instruct: Write a paragraph about rivers.\nOutput:"


def matrix(rows: int, width: int) -> Matrix:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(rows, width, generator=generator) * 0.05
    return Matrix(weight.bfloat16(), torch.randn(rows, generator=generator).bfloat16())


@pytest.mark.parametrize(("kind", "step"), [("int8", 1 / 127), ("int4", 1 / 7)])
@pytest.mark.parametrize("tokens", [1, 5, 40])
def test_a_product_is_off_by_the_rounding_at_most(kind: str, step: float, tokens: int) -> None:
    plain = matrix(160, 128)
    x = torch.randn(tokens, 128, generator=torch.Generator().manual_seed(1)).bfloat16()
    got = quantize_matrix(plain, kind)(x).float()
    off = (got - plain(x).float()).abs().amax()
    largest = plain.weight.abs().amax().float()
    assert off < step * float(largest) * float(x.float().abs().sum(-1).amax()) / 4


def test_int4_is_widened_to_the_numbers_that_the_kernel_uses() -> None:
    plain = matrix(32, 64)
    quantised = Int4Matrix.of(plain)
    kernel = (quantised(torch.eye(64, dtype=torch.bfloat16)) - quantised.bias).float().T
    scale, zero = quantised.scale_zero[0].float().unbind(-1)
    steps = ((kernel - zero[:, None]) / scale[:, None] + 8).round().clamp(0, 15).to(torch.int32)
    elsewhere = Int4Matrix(nibbles(steps), quantised.scale_zero, quantised.bias, quantised.group)
    wide = elsewhere._wide(torch.bfloat16).float()
    torch.testing.assert_close(wide, kernel, atol=0.05, rtol=0.02)
    assert float((wide - plain.weight.float()).abs().amax()) < float(scale.max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_of_int8_that_are_widened_in_blocks_give_the_product_of_all(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_WIDENED", 48)
    quantized = Int8Matrix.of(matrix(160, 4096))
    x = torch.randn(40, 4096, generator=torch.Generator().manual_seed(1)).to(dtype) * 20
    wide = quantized.weight.double() * quantized.scale.double().unsqueeze(1)
    exact = x.double() @ wide.T + quantized.bias.double()
    got = quantized(x)
    assert got.dtype == dtype
    off = (got.double() - exact).abs().amax() / exact.abs().amax()
    assert off < (2**-8 if dtype == torch.bfloat16 else 2**-11)


def test_int8_of_a_row_of_zeros_is_zero() -> None:
    zero = Matrix(torch.zeros(16, 32).bfloat16(), torch.zeros(16).bfloat16())
    assert not Int8Matrix.of(zero)(torch.ones(1, 32).bfloat16()).any()


def test_a_width_without_groups_is_refused_in_int4() -> None:
    with pytest.raises(ConfigurationError, match="use int8"):
        quantize_matrix(matrix(16, 40), "int4")
    with pytest.raises(ConfigurationError, match="Use int8 or int4"):
        quantize_matrix(matrix(16, 64), "int2")


@pytest.mark.parametrize(("kind", "bound"), [("int8", 1e-3), ("int4", 5e-2)])
def test_a_quantized_model_stays_close_to_float32(kind: str, bound: float) -> None:
    """KL a token of open-ended text against float32."""
    exact = LocalModel.load("demo", dtype="float32", device="cpu")
    small = LocalModel.load("demo", quantize=kind, device="cpu")  # type: ignore[arg-type]
    assert (small.quantize, small.dtype) == (kind, "bfloat16")
    divergences = []
    for seed in range(3):
        steps = exact.tokens(OPEN_ENDED, Sampling(max_tokens=40, temperature=1.0, seed=seed))
        ids = [step.id for step in steps]
        wide, narrow = (distributions(model, ids) for model in (exact, small))
        divergences.append((wide.exp() * (wide - narrow)).sum(-1).mean())
    assert 0 < float(torch.stack(divergences).mean()) < bound


def distributions(model: LocalModel, ids: list[int]) -> torch.Tensor:
    """Log-probabilities ``[N, V]`` along a text."""
    from phi2sdk.backends.engine.cache import ChunkAttend, SlotCache

    phi = model.phi
    text = model.encode(OPEN_ENDED) + ids
    cache = SlotCache(phi.config.shape, 1, len(text), phi.dtype, phi.device)
    with torch.inference_mode():
        attend = ChunkAttend(cache, 0, 0, len(text))
        x = phi.hidden(torch.tensor(text), torch.arange(len(text)), attend)
        return phi.logits(x[-len(ids) :]).log_softmax(-1)


def test_a_quantized_model_serves_many_rows(tiny_folder: Path) -> None:
    model = LocalModel.load(tiny_folder, quantize="int8", device="cpu")
    assert len(list(model.tokens("a", Sampling(max_tokens=5)))) <= 5


def test_float32_and_quantization_together_are_refused(tiny_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="auto, float16 or bfloat16"):
        LocalModel.load(tiny_folder, dtype="float32", quantize="int8", device="cpu")
