"""Measure the figures of the model card of a checkpoint.

They are the accuracy of greedy summaries of paragraphs about held-out subjects, in float32, and
the entropy of text that the model generates at temperature 1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import cast

import torch
from transformers import AutoTokenizer, PhiForCausalLM, PreTrainedTokenizerFast
from transformers.generation.utils import GenerateDecoderOnlyOutput

from . import names
from .formats import summary_prompt, writing_prompt
from .grammar import Paragraph, free_paragraph, paragraph

BATCH = 32


@dataclass(frozen=True, slots=True)
class Summaries:
    """The accuracy of greedy summaries, as shares of ``n``.

    ``exact`` is the share of summaries equal to the reference, ``named`` the share that contains
    the subject, and ``ended`` the share that the model ended within the limit. ``exact_by_kind``
    is ``exact`` for each kind of paragraph.
    """

    n: int
    exact: float
    named: float
    ended: float
    nats_per_token: float
    exact_by_kind: dict[str, float]


@dataclass(frozen=True, slots=True)
class Writing:
    """Figures of open-ended paragraphs sampled at temperature 1 without truncation.

    ``nats_per_token`` is the mean entropy of the model's distribution along the sampled text.
    """

    n: int
    nats_per_token: float
    tokens: float
    ended: float
    named: float


@dataclass(frozen=True, slots=True)
class Generated:
    """A completion without its end-of-text token, and the entropy of each step in nats."""

    text: str
    entropies: tuple[float, ...]
    ended: bool


def load(folder: Path) -> tuple[PhiForCausalLM, PreTrainedTokenizerFast]:
    """Load the checkpoint in ``folder`` in float32, and its tokenizer, which pads on the left."""
    model = PhiForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        attn_implementation="sdpa",
    )
    tokenizer = cast(
        PreTrainedTokenizerFast, AutoTokenizer.from_pretrained(folder, local_files_only=True)
    )
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.eos_token
    return model.train(False), tokenizer


@torch.inference_mode()
def complete(
    model: PhiForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    max_tokens: int,
    sample: bool,
) -> list[Generated]:
    """Complete each of ``prompts``, greedily or by sampling at temperature 1."""
    end = tokenizer.eos_token_id
    completions = []
    for start in range(0, len(prompts), BATCH):
        encoded = tokenizer(list(prompts[start : start + BATCH]), return_tensors="pt", padding=True)
        output = cast(
            GenerateDecoderOnlyOutput,
            model.generate(  # type: ignore[misc]
                **encoded,
                max_new_tokens=max_tokens,
                do_sample=sample,
                top_k=0 if sample else None,
                pad_token_id=end,
                output_logits=True,
                return_dict_in_generate=True,
            ),
        )
        logits = torch.stack(cast(tuple[torch.Tensor, ...], output.logits), dim=1)  # [B, steps, V]
        logprobs = logits.float().log_softmax(-1)
        entropies = -(logprobs.exp() * logprobs).sum(-1)  # [B, steps]
        for row, ids in enumerate(output.sequences[:, encoded["input_ids"].shape[1] :].tolist()):
            ended = end in ids
            length = ids.index(end) + 1 if ended else len(ids)
            text = cast(str, tokenizer.decode(ids[: length - ended]))
            completions.append(Generated(text, tuple(entropies[row, :length].tolist()), ended))
    return completions


def first_answer(completion: str) -> str:
    """Return ``completion`` up to a new instruction, without white space at its ends."""
    return completion.partition("\nInstruct:")[0].strip()


def evaluate_summaries(
    model: PhiForCausalLM, tokenizer: PreTrainedTokenizerFast, paragraphs: Sequence[Paragraph]
) -> Summaries:
    """Summarize ``paragraphs`` greedily, and compare each summary with its reference."""
    prompts = [summary_prompt(p.text) for p in paragraphs]
    outputs = complete(model, tokenizer, prompts, max_tokens=96, sample=False)
    pairs = [(first_answer(o.text), p) for o, p in zip(outputs, paragraphs, strict=True)]
    by_kind: dict[str, list[bool]] = {}
    for answer, p in pairs:
        by_kind.setdefault(p.kind, []).append(answer == p.reference)
    return Summaries(
        n=len(paragraphs),
        exact=_mean([answer == p.reference for answer, p in pairs]),
        named=_mean([p.subject.casefold() in answer.casefold() for answer, p in pairs]),
        ended=_mean([o.ended for o in outputs]),
        nats_per_token=_mean([e for o in outputs for e in o.entropies]),
        exact_by_kind={kind: _mean(right) for kind, right in sorted(by_kind.items())},
    )


def evaluate_writing(
    model: PhiForCausalLM, tokenizer: PreTrainedTokenizerFast, subjects: Sequence[str], seed: int
) -> Writing:
    """Sample an open-ended paragraph about each of ``subjects`` at temperature 1."""
    torch.manual_seed(seed)
    prompts = [writing_prompt(s) for s in subjects]
    outputs = complete(model, tokenizer, prompts, max_tokens=160, sample=True)
    named = [s.casefold() in o.text.casefold() for o, s in zip(outputs, subjects, strict=True)]
    return Writing(
        n=len(subjects),
        nats_per_token=_mean([e for o in outputs for e in o.entropies]),
        tokens=_mean([len(o.entropies) for o in outputs]),
        ended=_mean([o.ended for o in outputs]),
        named=_mean(named),
    )


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of the checkpoint")
    for option, default, what in (
        ("--seed", 0, "seed of subjects and samples"),
        ("--summaries", 450, "number of templated paragraphs to summarize"),
        ("--free", 200, "number of paragraphs without a template to summarize"),
        ("--writing", 128, "number of open-ended paragraphs to sample"),
    ):
        parser.add_argument(
            option, type=int, default=default, metavar="N", help=f"{what} (%(default)s)"
        )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, tokenizer = load(arguments.checkpoint)
    rng = Random(f"evaluate {arguments.seed}")
    templated = [paragraph(rng, held_out=True) for _ in range(arguments.summaries)]
    free = [free_paragraph(rng, held_out=True) for _ in range(arguments.free)]
    subjects = [names.subject(rng, held_out=True) for _ in range(arguments.writing)]
    figures = {
        "summaries": asdict(evaluate_summaries(model, tokenizer, templated)),
        "free": asdict(evaluate_summaries(model, tokenizer, free)),
        "writing": asdict(evaluate_writing(model, tokenizer, subjects, arguments.seed)),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
