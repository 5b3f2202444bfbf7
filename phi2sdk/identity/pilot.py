"""Write and score the pilot texts of a plan: those of the suspected author and of the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from phi2sdk.analysis.retokenize import as_written
from phi2sdk.errors import ConfigurationError
from phi2sdk.identity.alternatives import Alternative
from phi2sdk.identity.call_table import CallTable, Floats
from phi2sdk.identity.control_samples import sample_texts
from phi2sdk.identity.power_analysis import Part
from phi2sdk.identity.score_calls import ScoredCall, other_templates, score_calls, with_system
from phi2sdk.identity.weights import Loader, Weights
from phi2sdk.sampling import Sampling

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

__all__ = ["Pilot", "Setting", "Written", "author_prompts", "pilot", "score", "write"]


@dataclass(frozen=True, slots=True)
class Setting:
    """The prompts and sampling of a pilot.

    Attributes:
        prompts: The prompts as they are sent.
        format: The format that rendered them.
        max_tokens: The maximum number of tokens of an answer.
        calls: The number of pilot texts of each author, spread evenly over the prompts.
        seed: The seed of the sampling.
    """

    prompts: Sequence[str]
    format: str = "raw"
    max_tokens: int = 128
    calls: int = 256
    seed: int = 0

    def asked(self) -> list[str]:
        """Return the prompt of each call."""
        return list(islice(cycle(self.prompts), self.calls))


@dataclass(frozen=True, slots=True, eq=False)
class Pilot:
    """The scored texts of a pilot.

    Attributes:
        parts: The authors of the calls.
        control: The texts of the reference by honest precision.
        kl: The divergence of the author from the reference in nats per token; ``None`` if only a
            share of the calls is the author's.
        input: The mean number of tokens of a prompt.
    """

    parts: Sequence[Part]
    control: Mapping[str, Part]
    kl: float | None
    input: float


@dataclass(frozen=True, slots=True)
class Written:
    """Texts that can be scored: the index of each prompt, the prompt as sent, and the text."""

    places: Sequence[int]
    sent: Sequence[str]
    texts: Sequence[str]


def write(
    model: LocalModel, setting: Setting, seen: Sequence[str], sampling: Sampling, seed: int
) -> Written:
    """Return the texts that a model writes to prompts, without empty and broken ones."""
    asked = setting.asked()
    place = {prompt: at for at, prompt in enumerate(setting.prompts)}
    texts = sample_texts(model, seen, sampling, seed=seed)
    kept = [
        (place[sent], sent, text)
        for sent, text in zip(asked, texts, strict=True)
        if text and "\ufffd" not in text
    ]
    if not kept:
        raise ConfigurationError(
            "the model gives empty answers to these prompts: use open-ended prompts"
        )
    return Written(*(tuple(column) for column in zip(*kept, strict=True)))


def score(
    loader: Loader, format: str, written: Mapping[str, Written]
) -> tuple[dict[str, CallTable], dict[str, list[ScoredCall]]]:
    """Return the tables and calls of several sets of texts; each variant is loaded once."""
    reference = loader.load(loader.weights.honest[0])
    pairs = [(s, t) for one in written.values() for s, t in zip(one.sent, one.texts, strict=True)]
    spelt = iter(as_written(reference, pairs))
    calls = {
        name: [ScoredCall(p, s, next(spelt)) for p, s in zip(one.places, one.sent, strict=True)]
        for name, one in written.items()
    }
    table = score_calls(loader, [call for group in calls.values() for call in group], format)
    tables, at = {}, 0
    for name, group in calls.items():
        tables[name] = table.take(range(at, at + len(group)))
        at += len(group)
    return tables, calls


def pilot(
    weights: Weights,
    alternative: Alternative,
    setting: Setting,
    *,
    notice: Callable[[str], None] | None = None,
) -> Pilot:
    """Write and score the texts, and compare the distributions at every token.

    Args:
        weights: The model.
        alternative: The change to be detected.
        setting: The prompts and the sampling.
        notice: Receives a sentence about each step that takes a while.

    Raises:
        ConfigurationError: Weights cannot be used, or the template does not apply.
        OutOfMemory: The weights do not fit into memory.
    """
    loader = Loader(weights, notice)
    suspects = Loader(
        Weights(
            model=weights.model,
            honest=weights.honest,
            others=(alternative.other,) if alternative.other else (),
            revision=weights.revision,
            device=weights.device,
        ),
        notice,
    )
    try:
        return _pilot(loader, suspects, alternative, setting)
    finally:
        loader.free()
        suspects.free()


def _pilot(loader: Loader, suspects: Loader, alternative: Alternative, setting: Setting) -> Pilot:
    honest = loader.weights.honest
    seen = author_prompts(alternative, setting)
    plain = Sampling(max_tokens=setting.max_tokens, temperature=1.0)
    written: dict[str, Written] = {}
    for number, name in enumerate(reversed(honest)):
        model = loader.load(name)
        written[name] = write(model, setting, setting.asked(), plain, setting.seed * 1000 + number)
    sampling = alternative.sampling(setting.max_tokens)
    author = _author(loader, suspects, alternative)
    asked = [seen[sent] for sent in setting.asked()]
    written["author"] = write(author, setting, asked, sampling, setting.seed * 1000 + 999)
    reference = loader.load(honest[0])
    if author.vocab_size != reference.vocab_size:
        raise ConfigurationError(
            f"{alternative.name} has a different vocabulary from the model: name weights with the "
            "same tokenizer"
        )
    tables, calls = score(loader, setting.format, written)
    reference = loader.load(honest[0])
    author = _author(loader, suspects, alternative)
    noise, kl = _noise(author, sampling, reference, calls["author"], seen)
    parts = [Part(tables["author"], alternative.share, noise)]
    control = {}
    for name in honest:
        columns = [tables[name].drift[name]]
        if alternative.weights is not None and name == honest[0]:
            back, _ = _noise(reference, plain, author, calls[name], {}, seen)
            columns.append(back[:, 0])
        control[name] = Part(tables[name], 1.0, np.stack(columns, axis=1))
    if alternative.share < 1:
        first = control[honest[0]]
        parts.append(Part(first.calls, 1 - alternative.share, first.controls))
    lengths = [len(reference.encode(prompt)) for prompt in setting.prompts]
    return Pilot(parts, control, kl if alternative.share == 1 else None, float(np.mean(lengths)))


def _author(loader: Loader, suspects: Loader, alternative: Alternative) -> LocalModel:
    """Return the model of the suspected texts, which is in memory with the reference."""
    if alternative.weights is None:
        return loader.load(loader.weights.honest[0])
    if alternative.other is not None:
        return suspects.load(suspects.weights.candidates[-1])
    return suspects.load(alternative.weights)


def author_prompts(alternative: Alternative, setting: Setting) -> dict[str, str]:
    """Return the prompt that the author reads, by the one that is sent."""
    if alternative.system is not None:
        return {prompt: with_system(alternative.system, prompt) for prompt in setting.prompts}
    if alternative.template is None:
        return {prompt: prompt for prompt in setting.prompts}
    wanted = f"template={alternative.template}"
    found = {}
    for prompt in setting.prompts:
        others = other_templates(prompt, setting.format)
        if wanted not in others:
            raise ConfigurationError(
                f"{alternative.name} is the template of the prompts, or they have no known "
                f"template: use one of {', '.join(sorted(others)) or 'none'}"
            )
        found[prompt] = others[wanted]
    return found


def _noise(
    author: LocalModel,
    sampling: Sampling,
    other: LocalModel,
    calls: Sequence[ScoredCall],
    seen: Mapping[str, str],
    read: Mapping[str, str] | None = None,
) -> tuple[Floats, float]:
    """Return columns of mean 0 along texts, ``[n, 2]``, and the divergence in nats per token."""
    from phi2sdk.backends.engine.likelihood import divergences

    read = read or {}
    written = [(author.encode(seen.get(call.sent, call.sent)), call.ids) for call in calls]
    others = [(other.encode(read.get(call.sent, call.sent)), call.ids) for call in calls]
    found = divergences(author, sampling, other, written, others)
    tokens = sum(len(call.ids) for call in calls)
    noise = np.array([(one.kl_noise, one.drift_noise) for one in found])
    return noise, sum(one.kl for one in found) / max(1, tokens)
