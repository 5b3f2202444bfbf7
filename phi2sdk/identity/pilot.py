"""Pilot texts for planning: some of the suspected author's, some of the honest reference's."""

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
from phi2sdk.identity.score_calls import ScoredCall, other_templates, score_calls
from phi2sdk.identity.weights import Loader, Weights
from phi2sdk.sampling import Sampling

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

__all__ = ["Pilot", "Setting", "Written", "author_prompts", "pilot", "score", "write"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked.

    Attributes:
        prompts: As they are sent.
        format: What rendered them.
        max_tokens: At most so many an answer.
        calls: Pilot texts of each author, spread evenly over the prompts.
        seed: Of their sampling.
    """

    prompts: Sequence[str]
    format: str = "raw"
    max_tokens: int = 128
    calls: int = 256
    seed: int = 0

    def asked(self) -> list[str]:
        """The prompt of each call."""
        return list(islice(cycle(self.prompts), self.calls))


@dataclass(frozen=True, slots=True, eq=False)
class Pilot:
    """What planning needs.

    Attributes:
        parts: Who answers the calls.
        control: The reference's own texts by honest precision.
        kl: Nats a token from the reference to the author; ``None`` for a routed one.
        input: Tokens of a prompt, on average.
    """

    parts: Sequence[Part]
    control: Mapping[str, Part]
    kl: float | None
    input: float


@dataclass(frozen=True, slots=True)
class Written:
    """Texts that can be scored: each prompt's place, the prompt as sent, the text."""

    places: Sequence[int]
    sent: Sequence[str]
    texts: Sequence[str]


def write(
    model: LocalModel, setting: Setting, seen: Sequence[str], sampling: Sampling, seed: int
) -> Written:
    """Texts that a model writes after the prompts that it sees, empty and broken ones left out."""
    asked = setting.asked()
    place = {prompt: at for at, prompt in enumerate(setting.prompts)}
    texts = sample_texts(model, seen, sampling, seed=seed)
    kept = [
        (place[sent], sent, text)
        for sent, text in zip(asked, texts, strict=True)
        if text and "\ufffd" not in text
    ]
    if not kept:
        raise ConfigurationError("the model answers these prompts with nothing: ask something open")
    return Written(*(tuple(column) for column in zip(*kept, strict=True)))


def score(
    loader: Loader, format: str, written: Mapping[str, Written]
) -> tuple[dict[str, CallTable], dict[str, list[ScoredCall]]]:
    """The tables of several sets of texts, and their calls; each variant loads once for all."""
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
    """Write and score the texts, and compare the distributions at every place of them.

    Args:
        weights: The model.
        alternative: Who is to be found.
        setting: What is asked.
        notice: Is told what takes a while.

    Raises:
        ConfigurationError: Weights cannot be used, or the template does not apply.
        OutOfMemory: They do not fit.
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
        raise ConfigurationError(f"{alternative.name}: its vocabulary is not the model's")
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
    """Who writes the suspected texts; at the same time in memory as the reference."""
    if alternative.weights is None:
        return loader.load(loader.weights.honest[0])
    if alternative.other is not None:
        return suspects.load(suspects.weights.candidates[-1])
    return suspects.load(alternative.weights)


def author_prompts(alternative: Alternative, setting: Setting) -> dict[str, str]:
    """The prompt that the author sees, by the one that is sent."""
    if alternative.template is None:
        return {prompt: prompt for prompt in setting.prompts}
    wanted = f"template={alternative.template}"
    found = {}
    for prompt in setting.prompts:
        others = other_templates(prompt, setting.format)
        if wanted not in others:
            raise ConfigurationError(
                f"{alternative.name}: that is how the prompts are sent, or they are in no known "
                f"template; others are {', '.join(sorted(others)) or 'none'}"
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
    """Columns of mean 0 along texts, ``[n, 2]``, and the divergence in nats a token."""
    from phi2sdk.backends.engine.likelihood import divergences

    read = read or {}
    written = [(author.encode(seen.get(call.sent, call.sent)), call.ids) for call in calls]
    others = [(other.encode(read.get(call.sent, call.sent)), call.ids) for call in calls]
    found = divergences(author, sampling, other, written, others)
    tokens = sum(len(call.ids) for call in calls)
    noise = np.array([(one.kl_noise, one.drift_noise) for one in found])
    return noise, sum(one.kl for one in found) / max(1, tokens)
