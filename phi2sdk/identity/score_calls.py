"""Score many texts under the reference, the honest precisions and all candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from phi2sdk.errors import ConfigurationError
from phi2sdk.identity.call_table import BETAS, CallTable, Floats
from phi2sdk.identity.weights import Loader
from phi2sdk.prompts import Format, render

if TYPE_CHECKING:
    from phi2sdk.backends.engine.likelihood import TextSums
    from phi2sdk.backends.engine.model import LocalModel

__all__ = [
    "ScoredCall",
    "other_templates",
    "score_calls",
]

CUTS = {"top_p=0.9": 0.9, "top_p=0.95": 0.95, "top_k=20": 20, "top_k=50": 50}


@dataclass(frozen=True, slots=True)
class ScoredCall:
    """A text to be scored.

    Attributes:
        prompt: The index of the prompt.
        sent: The prompt as it was sent.
        ids: The tokens of the answer in the split that the reference finds most likely.
    """

    prompt: int
    sent: str
    ids: Sequence[int]


def score_calls(loader: Loader, calls: Sequence[ScoredCall], format: str = "raw") -> CallTable:
    """Score all calls under each variant of the weights, and return their table.

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
    from phi2sdk.backends.engine.likelihood import Truncation, log_likelihood, text_sums

    weights = loader.weights
    reference = weights.honest[0]
    sums: dict[str, TextSums] = {}
    candidates: dict[str, Floats] = {}
    encoded: dict[str, list[int]] = {}
    for name in weights.honest:
        model = loader.load(name)
        if not encoded:
            encoded = {sent: model.encode(sent) for sent in {call.sent for call in calls}}
        pairs = [(encoded[call.sent], call.ids) for call in calls]
        if name != reference:
            sums[name] = text_sums(model, pairs)
            continue
        cuts = {
            cut: Truncation(top_k=at) if isinstance(at, int) else Truncation(top_p=at)
            for cut, at in CUTS.items()
        }
        sums[name] = text_sums(model, pairs, betas=BETAS, truncations=cuts)
        candidates |= sums[name].truncated
        candidates |= _templates(model, calls, format)
    for name in weights.candidates:
        other = loader.load(name)
        if other.vocab_size != model.vocab_size:
            raise ConfigurationError(
                f"{name} has a different vocabulary from {weights.label}. Name weights with the "
                "same tokenizer"
            )
        candidates[name] = log_likelihood(other, pairs)
    loader.free()
    return _table(calls, {name: sums[name] for name in weights.honest}, candidates)


def _templates(model: LocalModel, calls: Sequence[ScoredCall], format: str) -> dict[str, Floats]:
    """The log-likelihood of the same answers to the prompts in other templates."""
    from phi2sdk.backends.engine.likelihood import log_likelihood

    others = {sent: other_templates(sent, format) for sent in {call.sent for call in calls}}
    shared = set.intersection(*(set(found) for found in others.values())) if others else set()
    encoded = {text: model.encode(text) for found in others.values() for text in found.values()}
    return {
        name: log_likelihood(model, [(encoded[others[c.sent][name]], c.ids) for c in calls])
        for name in sorted(shared)
    }


def _table(
    calls: Sequence[ScoredCall], sums: Mapping[str, TextSums], candidates: Mapping[str, Floats]
) -> CallTable:
    honest = {name: one for name, one in sums.items() if _finite(one)}
    first = next(iter(sums))
    if first not in honest:
        raise ConfigurationError(
            f"the numbers of the model overflow in {first}: name another precision first in "
            "--honest"
        )
    return CallTable(
        prompt=np.array([call.prompt for call in calls], dtype=np.int64),
        tokens=sums[first].tokens,
        entropy=sums[first].entropy,
        logp={name: one.logp for name, one in honest.items()},
        drift={name: one.drift for name, one in honest.items()},
        variance={name: one.variance for name, one in honest.items()},
        loglik=sums[first].loglik,
        candidates={name: one for name, one in candidates.items() if np.isfinite(one).all()},
    )


def _finite(sums: TextSums) -> bool:
    return bool(np.isfinite(sums.logp).all() and np.isfinite(sums.variance).all())


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
