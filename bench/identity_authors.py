"""The authors of planted answers: weights, sampling and prompts that differ from the declared ones.

Answers of all authors with the same weights are sampled in one batch. One uniform number chooses a
token, so a run of thousands of answers takes seconds.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.likelihood import packed
from phi2sdk.backends.engine.memory import PREFILL_TOKENS
from phi2sdk.backends.engine.sampler import shaped
from phi2sdk.backends.engine.scoring import packed_hidden
from phi2sdk.backends.engine.slots import Flight, Row, Slots
from phi2sdk.demo import checkpoint_path
from phi2sdk.identity.score_calls import other_templates
from phi2sdk.sampling import Sampling

SLOTS = 256
GROUP = 32
"""Weights of a row that share a scale in int3."""
GREEN = 0.25
"""The share of the vocabulary that a watermark favors after each token."""

Tensors = dict[str, Tensor]


PLAIN = Sampling(temperature=1.0)


@dataclass(frozen=True, slots=True)
class Author:
    """A way to write answers.

    Attributes:
        weights: ``float32``, ``int4``, or a name of :data:`WEIGHTS`.
        sampling: Its sampling, without maximum and seed.
        watermark: What is added to the logits of the tokens that the token before favors.
        template: The template in which it reads the prompts.
        system: A sentence before each prompt.
    """

    weights: str = "float32"
    sampling: Sampling = PLAIN
    watermark: float = 0.0
    template: str = ""
    system: str = ""

    def reads(self, prompt: str) -> str:
        """Return the prompt that it reads in place of the one that was sent."""
        if self.template:
            return other_templates(prompt, "instruct")[f"template={self.template}"]
        return self.system + prompt


# ------------------------------------------------------------------------- weights


def _int3(weights: Tensors) -> Tensors:
    def rounded(matrix: Tensor) -> Tensor:
        groups = matrix.view(len(matrix), -1, GROUP)
        low = groups.amin(-1, keepdim=True)
        step = ((groups.amax(-1, keepdim=True) - low) / 7).clamp_min(1e-12)
        return (((groups - low) / step).round() * step + low).view_as(matrix)

    return {name: rounded(one) if _is_matrix(name, one) else one for name, one in weights.items()}


def _noise(share: float) -> Callable[[Tensors], Tensors]:
    def noisy(weights: Tensors) -> Tensors:
        drawn = torch.Generator().manual_seed(0)
        return {
            name: one * (1 + share * torch.randn(one.shape, generator=drawn))
            if _is_matrix(name, one)
            else one
            for name, one in weights.items()
        }

    return noisy


def _adam_step(weights: Tensors) -> Tensors:
    """One step of Adam at 1e-3 on a batch of training examples."""
    from transformers import AutoTokenizer, PhiForCausalLM

    from training.formats import example
    from training.train import answer_loss, encode

    model = PhiForCausalLM.from_pretrained(checkpoint_path(), dtype=torch.float32)
    rng = Random(0)
    drawn = encode(
        [example(rng, 0.12) for _ in range(16)], AutoTokenizer.from_pretrained(checkpoint_path())
    )
    torch.autograd.backward(answer_loss(model, *drawn) / 1000)
    torch.optim.Adam(model.parameters(), lr=1e-3).step()
    trained = model.state_dict()
    return {name: trained[name].detach().float() for name in weights}


WEIGHTS: Mapping[str, Callable[[Tensors], Tensors]] = {
    "int3": _int3,
    "adam": _adam_step,
    "noise": _noise(0.15),
    "other": _noise(0.5),
}
"""Weights that are computed from those of the bundled checkpoint, by name."""


def _is_matrix(name: str, one: Tensor) -> bool:
    return one.ndim == 2 and ".layers." in name


def make_weights(folder: Path, names: Sequence[str]) -> None:
    """Write the checkpoints of the named weights below a folder; existing ones are kept."""
    for name in names:
        if name not in WEIGHTS or (folder / name).exists():
            continue
        shutil.copytree(checkpoint_path(), folder / f"{name}.part", dirs_exist_ok=True)
        file = folder / f"{name}.part" / "model.safetensors"
        plain = {key: one.float() for key, one in load_file(file).items()}
        changed = {key: one.contiguous() for key, one in WEIGHTS[name](plain).items()}
        save_file(changed, file, {"format": "pt"})
        (folder / f"{name}.part").rename(folder / name)


def load(name: str, folder: Path) -> LocalModel:
    """Return the model of the named weights."""
    if name == "int4":
        return LocalModel.load("demo", quantize="int4", device="cpu")
    return LocalModel.load(
        folder / name if name in WEIGHTS else "demo", dtype="float32", device="cpu"
    )


# ------------------------------------------------------------------------ sampling


class _Green:
    """The tokens that a watermark favors after each token."""

    table: Tensor | None = None

    @classmethod
    def after(cls, tokens: Tensor, vocab: int) -> Tensor:
        """Return ``[n, V]``, which tokens are favored after each token."""
        if cls.table is None:
            drawn = torch.Generator().manual_seed(15)
            cls.table = torch.rand(vocab, vocab, generator=drawn) < GREEN
        return cls.table[tokens]


def changed_logits(logits: Tensor, author: Author, seen: Tensor | None, before: Tensor) -> Tensor:
    """Return the logits ``[n, V]`` that an author samples from.

    Args:
        logits: The logits of its weights.
        author: The author.
        seen: ``[n, V]``, which tokens occur in prompt and answer, for a repetition penalty.
        before: ``[n]``, the token before.
    """
    penalty = author.sampling.repetition_penalty
    if seen is not None and penalty != 1:
        scaled = torch.where(logits > 0, logits / penalty, logits * penalty)
        logits = torch.where(seen, scaled, logits)
    if author.watermark:
        logits = logits + author.watermark * _Green.after(before, logits.shape[-1])
    if author.sampling.greedy:
        return logits.masked_fill(logits < logits.amax(-1, keepdim=True), -torch.inf)
    plain = replace(author.sampling, repetition_penalty=1.0)
    return logits if plain == PLAIN else shaped(logits, [plain] * len(logits))


class _Batch(Slots):
    """Slots whose rows have an author each, and which draw with one uniform number for each row."""

    authors: dict[int, Author]
    drawn: torch.Generator

    def _launch(self, chunks: Sequence[tuple[Row, int]]) -> Flight:
        writing = self.rows[: self._writing]
        finished = [row for row, count in chunks if row.read + count == len(row.prompt)]
        rows = [*writing, *finished]
        if chunks:
            logits = self._mixed(writing, chunks)
        else:
            logits = self._one_token(self._last[: len(rows)], [row.length for row in rows])
        before = [int(self._last[at]) for at in range(len(writing))]
        before += [row.prompt[-1] for row in finished]
        tokens = self._draw(logits, rows, torch.tensor(before))
        self._last[: len(rows)] = tokens
        for row in writing:
            row.length += 1
        for row, count in chunks:
            row.read += count
            row.length += count
        self._writing = len(rows)
        return Flight(rows, tokens, tokens.float())

    def _draw(self, logits: Tensor, rows: Sequence[Row], before: Tensor) -> Tensor:
        places: dict[Author, list[int]] = {}
        for at, row in enumerate(rows):
            places.setdefault(self.authors[id(row)], []).append(at)
        for author, own in places.items():
            if author == Author(author.weights):
                continue
            seen = [rows[at].chooser.seen for at in own]
            known = None if any(one is None for one in seen) else torch.stack(seen)  # type: ignore[arg-type]
            logits[own] = changed_logits(logits[own], author, known, before[own])
        mass = logits.softmax(-1).cumsum(-1)
        at = torch.rand(len(rows), 1, generator=self.drawn) * mass[:, -1:]
        tokens = torch.searchsorted(mass, at, right=True).squeeze(-1).clamp_max(mass.shape[-1] - 1)
        for token, row in zip(tokens.tolist(), rows, strict=True):
            if row.chooser.seen is not None:
                row.chooser.seen[token] = True
        return tokens


def sample(
    model: LocalModel, asked: Sequence[tuple[str, Author]], max_tokens: int, seed: int
) -> list[list[int]]:
    """Return the tokens of one answer to each prompt, with end-of-text where the answer ends.

    Args:
        model: The weights of all authors.
        asked: The prompts as they are sent, each with its author.
        max_tokens: The maximum number of tokens of an answer.
        seed: The seed of all answers.
    """
    encoded = [model.encode(author.reads(prompt)) for prompt, author in asked]
    if not encoded:
        return []
    length = max(map(len, encoded)) + max_tokens
    batch = _Batch(model.phi, min(SLOTS, len(asked)), length=length, prefill_among=PREFILL_TOKENS)
    batch.authors, batch.drawn = {}, torch.Generator().manual_seed(seed)
    answers: list[list[int]] = [[] for _ in asked]
    places: dict[int, int] = {}
    running: list[Row] = []  # kept, so that no two rows have the same id
    for at in range(len(asked) + 1):
        while (at == len(asked) and batch.rows) or not batch.free:
            _step(batch, model, answers, places, max_tokens)
        if at < len(asked):
            row = batch.join(encoded[at], asked[at][1].sampling)
            running.append(row)
            batch.authors[id(row)], places[id(row)] = asked[at][1], at
    return answers


def _step(
    batch: _Batch, model: LocalModel, answers: list[list[int]], places: dict[int, int], most: int
) -> None:
    for token in batch.step():
        own = answers[places[id(token.row)]]
        own.append(token.id)
        if token.id in model.eos_ids or len(own) == most:
            batch.leave(token.row)


# ---------------------------------------------------------------------- divergence


def divergence(
    author: Author, model: LocalModel, reference: LocalModel, prompts: Sequence[str],
    answers: Sequence[Sequence[int]],
) -> float:  # fmt: skip
    """Return the KL divergence of an author from the reference in nats per token of its answers.

    Both distributions exclude end-of-text.
    """
    told = [
        (prompt, [id for id in ids if id not in model.eos_ids])
        for prompt, ids in zip(prompts, answers, strict=True)
    ]
    told = [(prompt, ids) for prompt, ids in told if ids]
    own = [(model.encode(author.reads(prompt)), ids) for prompt, ids in told]
    theirs = [(reference.encode(prompt), ids) for prompt, ids in told]
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in packed(own):
            other, theirs = theirs[: len(batch)], theirs[len(batch) :]
            q = changed_logits(
                model.phi.logits(packed_hidden(model.phi, batch)), author,
                _seen(batch, model.vocab_size), _before(batch),
            )  # fmt: skip
            p = reference.phi.logits(packed_hidden(reference.phi, other))
            for id in model.eos_ids:
                q[:, id] = p[:, id] = -torch.inf
            q, p = q.log_softmax(-1), p.log_softmax(-1)
            terms = torch.where(torch.isfinite(q), q.exp() * (q - p), 0).nansum(-1)
            total += float(terms.sum())
            count += len(terms)
    return total / max(1, count)


def _seen(batch: Sequence[tuple[Sequence[int], Sequence[int]]], vocab: int) -> Tensor:
    rows = []
    for prompt, ids in batch:
        known = torch.zeros(vocab, dtype=torch.bool)
        known[torch.tensor(prompt)] = True
        for id in ids:
            rows.append(known.clone())
            known[id] = True
    return torch.stack(rows)


def _before(batch: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    return torch.tensor([id for prompt, ids in batch for id in (prompt[-1], *ids[:-1])])
