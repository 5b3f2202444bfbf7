"""The training loop, with Muon for the layers' matrices and AdamW for the other parameters.

Examples are generated during training. A run depends only on the seed and the number of steps, and
not on the clock, so it can be repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import torch
from torch.nn import functional
from transformers import PhiForCausalLM, PreTrainedTokenizerFast

from .formats import Example, example

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Plan:
    """The schedule of a training run. Progress is a share of ``steps``."""

    seed: int = 0
    steps: int = 2500
    batch: int = 48
    micro_batch: int = 16
    muon_rate: float = 0.02
    adam_rate: float = 0.004

    def rate(self, step: int) -> float:
        """Return the factor of the learning rates: warm-up, flat to 30 %, then cosine to 2 %."""
        warm_up = min(1.0, (step + 1) / 20)
        progress = step / self.steps
        if progress < 0.3:
            return warm_up
        return warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (progress - 0.3) / 0.7)))

    def copy_share(self, step: int) -> float:
        """Return the share of copying exercises: all at first, then half, then a few."""
        progress = step / self.steps
        return 1.0 if progress < 0.07 else 0.5 if progress < 0.12 else 0.12


@dataclass(frozen=True, slots=True)
class Progress:
    """A report of the loop. ``loss`` is the mean of the last step in nats per answer token."""

    step: int
    loss: float
    tokens: int


def encode(
    examples: list[Example], tokenizer: PreTrainedTokenizerFast
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and labels, both [examples, longest], padded on the right.

    Labels are the ids shifted by one, or `IGNORED` if the next token belongs to the prompt or to
    the padding. Prompt and answer are encoded separately, as in inference.
    """
    end = tokenizer.eos_token_id
    prompts: list[list[int]] = tokenizer([e.prompt for e in examples])["input_ids"]
    answers: list[list[int]] = [
        [*ids, end] for ids in tokenizer([e.answer for e in examples])["input_ids"]
    ]
    longest = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True)) - 1
    inputs = torch.full((len(examples), longest), end)
    labels = torch.full((len(examples), longest), IGNORED)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids = torch.tensor(prompt + answer)
        inputs[row, : len(ids) - 1] = ids[:-1]
        labels[row, len(prompt) - 1 : len(ids) - 1] = ids[len(prompt) :]
    return inputs, labels


def answer_loss(model: PhiForCausalLM, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed cross-entropy of the answers' tokens in nats."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state  # [B, S, H]
        wanted = labels != IGNORED
        logits = model.lm_head(hidden[wanted])  # [answer tokens, V]
    return functional.cross_entropy(logits.float(), labels[wanted], reduction="sum")


def optimizers(model: PhiForCausalLM, plan: Plan) -> tuple[torch.optim.Optimizer, ...]:
    """Return Muon for the layers' matrices, and AdamW for embeddings, norms and biases."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and ".layers." in name]
    others = [p for name, p in named if not (p.ndim == 2 and ".layers." in name)]
    return (
        torch.optim.Muon(matrices, lr=plan.muon_rate, weight_decay=0.01),
        torch.optim.AdamW(others, lr=plan.adam_rate, betas=(0.9, 0.98), weight_decay=0.0),
    )


def train(
    model: PhiForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    plan: Plan,
    report: Callable[[Progress], None],
) -> None:
    """Train ``model`` in place, and call ``report`` after each step."""
    rng = Random(plan.seed)
    optims = optimizers(model, plan)
    base_rates = [[group["lr"] for group in o.param_groups] for o in optims]
    tokens = 0
    model.train()
    for step in range(plan.steps):
        for optim, rates in zip(optims, base_rates, strict=True):
            for group, rate in zip(optim.param_groups, rates, strict=True):
                group["lr"] = rate * plan.rate(step)
        drawn = [example(rng, plan.copy_share(step)) for _ in range(plan.batch)]
        drawn.sort(key=lambda e: len(e.prompt) + len(e.answer))  # reduces padding
        parts = [
            encode(drawn[start : start + plan.micro_batch], tokenizer)
            for start in range(0, plan.batch, plan.micro_batch)
        ]
        answer_tokens = sum(int((labels != IGNORED).sum()) for _, labels in parts)
        total = 0.0
        for inputs, labels in parts:
            loss = answer_loss(model, inputs, labels) / answer_tokens
            torch.autograd.backward(loss)
            total += loss.item()
            tokens += inputs.numel()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        report(Progress(step + 1, total, tokens))
    model.train(False)
