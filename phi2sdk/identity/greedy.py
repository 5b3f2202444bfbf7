"""Compute the regret of every target's greedy answers under local weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phi2sdk.analysis.agreement import pair_up
from phi2sdk.analysis.regret import (
    Greedy,
    greedy_answers,
    near_tie,
    regret_of,
    score_greedy,
    written_in,
)
from phi2sdk.identity.score_calls import other_templates
from phi2sdk.identity.weights import Loader
from phi2sdk.logprobs import Score
from phi2sdk.measure.records import Record

if TYPE_CHECKING:
    from phi2sdk.measure.folder import Run

__all__ = ["greedy_regrets"]

MOST_ANSWERS = 200
"""The maximum number of equal answers that are scored again to measure numerical differences."""


def greedy_regrets(run: Run, loader: Loader) -> dict[str, Any]:
    """Return the :class:`~phi2sdk.analysis.regret.TargetRegret` of each target as JSON.

    Answers are compared with the first honest precision. The other precisions score some of them
    too, which shows how large a numerical tie is.

    Args:
        run: A run with greedy answers, complete or not.
        loader: Loads the local weights; it holds the last honest precision afterwards.

    Raises:
        ConfigurationError: The weights cannot be used.
        OutOfMemory: The weights do not fit into memory.
    """
    by_target: dict[str, list[Record]] = {name: [] for name in run.configuration["targets"]}
    for key, record in sorted(run.recorded.done.items()):
        if key.arm == "greedy":
            by_target[key.target].append(record)
    reference = by_target.get(run.configuration.get("reference") or "", [])
    found = {name: greedy_answers(pair_up(reference, own)) for name, own in by_target.items()}
    # Most targets give the same answer to most prompts: each text is scored once.
    distinct = list({_what(answer): answer for one in found.values() for answer in one}.values())
    if not distinct:
        return {}
    first, *others = loader.weights.honest
    model = loader.load(first)
    scored = score_greedy(model, run.prompts, distinct)
    format = run.configuration["format"]
    templates = {
        id: {name.removeprefix("template="): t for name, t in other_templates(text, format).items()}
        for id, text in run.prompts.items()
    }
    written = {name: written_in(model, templates, answers) for name, answers in found.items()}
    known = [
        (model.encode(run.prompts[answer.prompt]), one.score)
        for answer, one in zip(distinct, scored, strict=True)
        if one is not None and one.score.ids and answer.fork is None
    ][:MOST_ANSWERS]
    del model  # before the next one is there
    again: list[tuple[Score, Score]] = []
    for name in others:
        rescored = loader.load(name).score_many([(prompt, score.ids) for prompt, score in known])
        again += zip((score for _, score in known), rescored, strict=True)
    tie = near_tie(again)
    by_answer = {_what(answer): one for answer, one in zip(distinct, scored, strict=True)}
    return {
        name: regret_of(
            answers,
            [by_answer[_what(a)] for a in answers],
            tie=tie,
            template=written[name],
        ).to_json()
        for name, answers in found.items()
        if answers
    }


def _what(answer: Greedy) -> tuple[str, str, int | None]:
    return answer.prompt, answer.text, answer.fork
