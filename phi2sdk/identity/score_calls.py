"""Score many texts under the reference, the honest precisions and all candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phi2sdk.errors import ConfigurationError
from phi2sdk.identity.call_table import BETAS, CallTable, Floats
from phi2sdk.identity.weights import Loader
from phi2sdk.prompts import Format, render

if TYPE_CHECKING:
    from phi2sdk.backends.engine.likelihood import TextSums
    from phi2sdk.backends.engine.model import LocalModel

__all__ = [
    "SYSTEM",
    "ScoredCall",
    "other_templates",
    "score_calls",
    "with_system",
]

TRUNCATIONS: Mapping[str, dict[str, Any]] = {
    "top_p=0.9": {"top_p": 0.9},
    "top_p=0.95": {"top_p": 0.95},
    "top_k=20": {"top_k": 20},
    "top_k=50": {"top_k": 50},
    "min_p=0.05": {"min_p": 0.05},
    "min_p=0.1": {"min_p": 0.1},
}
PENALTIES = {f"repetition_penalty={penalty:g}": penalty for penalty in (1.05, 1.1, 1.3)}
SYSTEM = {
    "system=helpful": "You are a helpful assistant.",
}
"""Sentences before the prompt. The ratio of one responds to other sentences almost as much."""


@dataclass(frozen=True, slots=True)
class ScoredCall:
    """A text to be scored.

    Attributes:
        prompt: The index of the prompt.
        sent: The prompt as it was sent.
        ids: The tokens of the answer in the split that the reference finds most likely.
        ends: The numbers of tokens, from the beginning of the answer, that are scored; by default
            the whole answer. Each makes a row of the table, and costs nothing.
    """

    prompt: int
    sent: str
    ids: Sequence[int]
    ends: Sequence[int] | None = None


def score_calls(loader: Loader, calls: Sequence[ScoredCall], format: str = "raw") -> CallTable:
    """Score all calls under each variant of the weights, and return a table of their ends.

    Equal answers to a prompt are scored once, and so is an answer with which another one begins.
    Variants are loaded one after another, the reference first. An honest precision whose numbers
    overflow on these texts is left out.

    Args:
        loader: Loads the variants.
        calls: The texts to be scored.
        format: The format that rendered the prompts; the other templates are candidates.

    Raises:
        ConfigurationError: The reference precision overflows, or other weights have another
            vocabulary.
    """
    from phi2sdk.backends.engine.changed_sampling import Truncation
    from phi2sdk.backends.engine.likelihood import log_likelihood, text_sums

    distinct = _Distinct.of(calls)
    texts, ends = distinct.texts, distinct.ends
    weights = loader.weights
    reference = weights.honest[0]
    sums: dict[str, TextSums] = {}
    candidates: dict[str, Floats] = {}
    encoded: dict[str, list[int]] = {}
    for name in weights.honest:
        model = loader.load(name)
        if not encoded:
            encoded = {sent: model.encode(sent) for sent, _ in texts}
        pairs = [(encoded[sent], ids) for sent, ids in texts]
        if name != reference:
            sums[name] = text_sums(model, pairs, ends=ends)
            continue
        sums[name] = text_sums(
            model,
            pairs,
            ends=ends,
            betas=BETAS,
            truncations={cut: Truncation(**limits) for cut, limits in TRUNCATIONS.items()},
            penalties=list(PENALTIES.values()),
            residuals=True,
        )
        candidates |= sums[name].truncated
        candidates |= dict(zip(PENALTIES, sums[name].penalized.T, strict=True))
    candidates |= _other_prompts(model, distinct, format)
    for name in weights.candidates:
        other = loader.load(name)
        if other.vocab_size != model.vocab_size:
            raise ConfigurationError(
                f"{name} has a different vocabulary from {weights.label}. Name weights with the "
                "same tokenizer"
            )
        candidates[name] = log_likelihood(other, pairs, ends=ends)
    loader.free()
    table = _table({name: sums[name] for name in weights.honest}, candidates).take(distinct.rows)
    return replace(table, prompt=np.array(distinct.prompts, dtype=np.int64))


_Text = tuple[str, tuple[int, ...]]
"""A prompt as it was sent, and the tokens of an answer."""


@dataclass(frozen=True, slots=True)
class _Distinct:
    """The answers that have to be scored.

    Attributes:
        texts: The answers without those that are the beginning of another one to the same prompt.
            Answers that begin equally follow each other.
        ends: The ends at which each of them is scored.
        rows: The place among all these ends, for each end of each call.
        prompts: The index of the prompt, for each end of each call.
    """

    texts: list[_Text]
    ends: list[list[int]]
    rows: list[int]
    prompts: list[int]

    @classmethod
    def of(cls, calls: Sequence[ScoredCall]) -> _Distinct:
        keys = [(call.sent, tuple(call.ids)) for call in calls]
        wanted = [[len(call.ids)] if call.ends is None else list(call.ends) for call in calls]
        longest = _longest(set(keys))
        found: dict[_Text, set[int]] = {text: set() for text in sorted(set(longest.values()))}
        for key, ends in zip(keys, wanted, strict=True):
            found[longest[key]].update(ends)
        every = [(text, end) for text, ends in found.items() for end in sorted(ends)]
        place = {one: at for at, one in enumerate(every)}
        return cls(
            texts=list(found),
            ends=[sorted(ends) for ends in found.values()],
            rows=[
                place[longest[k], end] for k, ends in zip(keys, wanted, strict=True) for end in ends
            ],
            prompts=[call.prompt for call, ends in zip(calls, wanted, strict=True) for _ in ends],
        )


def _longest(texts: Iterable[_Text]) -> dict[_Text, _Text]:
    """Return for each answer one to the same prompt that begins with it, possibly itself."""
    found: dict[_Text, _Text] = {}
    last: _Text | None = None
    for sent, ids in sorted(texts, reverse=True):
        if last is None or last[0] != sent or last[1][: len(ids)] != ids:
            last = (sent, ids)
        found[sent, ids] = last
    return found


def _other_prompts(model: LocalModel, distinct: _Distinct, format: str) -> dict[str, Floats]:
    """The log-likelihood of the same answers after another template, or a sentence before it.

    It is computed in the last honest precision, by default bfloat16, which many processors compute
    several times faster. Honest precisions differ by far less than these candidates.
    """
    from phi2sdk.backends.engine.likelihood import log_likelihood

    texts = distinct.texts
    others = {
        sent: other_templates(sent, format)
        | {name: with_system(sentence, sent) for name, sentence in SYSTEM.items()}
        for sent in {sent for sent, _ in texts}
    }
    shared = set.intersection(*(set(found) for found in others.values())) if others else set()
    encoded = {text: model.encode(text) for found in others.values() for text in found.values()}
    return {
        name: log_likelihood(
            model,
            [(encoded[others[sent][name]], ids) for sent, ids in texts],
            ends=distinct.ends,
        )
        for name in sorted(shared)
    }


def _table(sums: Mapping[str, TextSums], candidates: Mapping[str, Floats]) -> CallTable:
    """The table of the scored ends; the prompt of a row is not known yet."""
    honest = {name: one for name, one in sums.items() if _finite(one)}
    first = next(iter(sums))
    if first not in honest:
        raise ConfigurationError(
            f"the numbers of the model overflow in {first}: name another precision first in "
            "--honest"
        )
    return CallTable(
        prompt=np.zeros_like(sums[first].tokens),
        tokens=sums[first].tokens,
        entropy=sums[first].entropy,
        logp={name: one.logp for name, one in honest.items()},
        drift={name: one.drift for name, one in honest.items()},
        variance={name: one.variance for name, one in honest.items()},
        loglik=sums[first].loglik,
        candidates={name: one for name, one in candidates.items() if np.isfinite(one).all()},
        residuals=sums[first].residuals,
    )


def _finite(sums: TextSums) -> bool:
    return bool(np.isfinite(sums.logp).all() and np.isfinite(sums.variance).all())


def with_system(sentence: str, prompt: str) -> str:
    """Return a prompt with a sentence before it."""
    return f"{sentence}\n{prompt}"


_FRAMES: dict[str, tuple[str, str]] = {
    "instruct": ("Instruct: ", "\nOutput:"),
    "chat": ("Alice: ", "\nBob:"),
}
_NAMED: tuple[Format, ...] = ("instruct", "qa", "chat")
"""``raw`` and ``code`` render as ``qa`` does."""


def other_templates(prompt: str, format: str) -> dict[str, str]:
    """Return the text of a prompt in every other template, by the name of the candidate.

    Args:
        prompt: The prompt as it was sent.
        format: The format that rendered it.
    """
    before, after = _FRAMES.get(format, ("", ""))
    text = prompt.removeprefix(before).removesuffix(after)
    if not text.strip():  # the prompt is nothing but its template
        return {}
    others = {n: render(text, n, allow_control_tokens=True).text for n in _NAMED}
    return {f"template={name}": other for name, other in others.items() if other != prompt}
