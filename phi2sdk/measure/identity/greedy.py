"""The regret of every target's greedy answers under local weights, for ``identity.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from phi2sdk.measure.agreement import pair_up
from phi2sdk.measure.identity.sample import sample_texts
from phi2sdk.measure.identity.weights import Loader
from phi2sdk.measure.records import Record
from phi2sdk.measure.regret import Greedy, greedy_answers, near_tie, regret_of, score_greedy
from phi2sdk.sampling import Sampling

if TYPE_CHECKING:
    from phi2sdk.measure.folder import Run

__all__ = ["greedy_regrets"]

MOST_PROMPTS = 100
"""The honest precisions answer so many prompts at most, to tell what a tie is."""


def greedy_regrets(run: Run, loader: Loader) -> dict[str, Any]:
    """For each target of a run, its :class:`~phi2sdk.measure.regret.TargetRegret` as JSON.

    Answers are held against the first honest precision; those of the others, written here, tell
    how far honest numerics goes on these prompts.

    Args:
        run: With greedy answers, complete or not.
        loader: Of the local weights; it holds the first honest precision afterwards.

    Raises:
        ConfigurationError: The weights cannot be used.
        OutOfMemory: They do not fit.
    """
    by_target: dict[str, list[Record]] = {name: [] for name in run.configuration["targets"]}
    for key, record in sorted(run.recorded.done.items()):
        if key.arm == "greedy":
            by_target[key.target].append(record)
    reference = by_target.get(run.configuration.get("reference") or "", [])
    found = {name: greedy_answers(pair_up(reference, own)) for name, own in by_target.items()}
    if not any(found.values()):
        return {}
    honest = _honest_answers(run, loader, run.prompts)
    model = loader.load(loader.weights.honest[0])
    tie = near_tie(score_greedy(model, run.prompts, honest))
    return {
        name: regret_of(
            answers, score_greedy(model, run.prompts, answers, tie=tie), tie=tie
        ).to_json()
        for name, answers in found.items()
        if answers
    }


def _honest_answers(run: Run, loader: Loader, prompts: Mapping[str, str]) -> Sequence[Greedy]:
    """What the weights answer in each honest precision but the first."""
    most = run.configuration["max_tokens"]
    written = []
    for name in loader.weights.honest[1:]:
        model = loader.load(name)
        chosen = [
            id
            for id, text in prompts.items()
            if 0 < len(model.encode(text)) <= model.context_length - most
        ][:MOST_PROMPTS]
        greedy = Sampling(max_tokens=most, temperature=0.0)
        texts = sample_texts(model, [prompts[id] for id in chosen], greedy, seed=0)
        written += [Greedy(id, (0,), text) for id, text in zip(chosen, texts, strict=True)]
    return written
