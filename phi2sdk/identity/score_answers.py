"""Find the tokens of answers, and score them under all variants of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from phi2sdk.analysis.retokenize import as_written
from phi2sdk.identity.call_table import CallTable
from phi2sdk.identity.score_calls import ScoredCall, score_calls
from phi2sdk.identity.weights import Loader
from phi2sdk.measure.sampled import Answers

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

__all__ = ["scored"]

_Name = TypeVar("_Name")


def scored(
    loader: Loader, prompts: Mapping[str, str], format: str, groups: Mapping[_Name, Answers]
) -> tuple[dict[_Name, Answers], dict[_Name, CallTable]]:
    """Return groups of answers with their tokens, and their scores; equal answers are scored once.

    Args:
        loader: Loads the variants of the weights.
        prompts: The prompts as they were sent, by id.
        format: The format that rendered them.
        groups: The answers by any name.
    """
    spelt = _spelt(loader, prompts, groups)
    return spelt, _tables(loader, prompts, format, spelt)


def _spelt(
    loader: Loader, prompts: Mapping[str, str], groups: Mapping[_Name, Answers]
) -> dict[_Name, Answers]:
    """Add the tokens of each text in the split that the last honest precision finds most likely.

    By default it is bfloat16, which many processors compute several times faster than float32.
    """
    model = loader.load(loader.weights.honest[-1])
    wanted = dict.fromkeys(
        (prompts[id], whole)
        for one in groups.values()
        for id, whole in zip(one.prompts, one.whole_texts, strict=True)
    )
    pairs = list(wanted)
    ids = dict(zip(pairs, as_written(model, pairs), strict=True))
    return {
        name: one.spelt(
            _beginning(model, ids[prompts[id], whole], text, whole)
            for id, text, whole in zip(one.prompts, one.texts, one.whole_texts, strict=True)
        )
        for name, one in groups.items()
    }


def _beginning(model: LocalModel, ids: tuple[int, ...], text: str, whole: str) -> tuple[int, ...]:
    """Return the tokens of a whole text that lie in the text with which it begins, at least one."""
    if text == whole:
        return ids
    ends = accumulate(len(model.piece(id)) for id in ids)
    size = len(text.encode())
    return ids[: max(1, sum(end <= size for end in ends))]


def _tables(
    loader: Loader, prompts: Mapping[str, str], format: str, groups: Mapping[_Name, Answers]
) -> dict[_Name, CallTable]:
    """Score all answers together, so that each variant of the weights is loaded once."""
    place = {id: at for at, id in enumerate(prompts)}
    calls: list[ScoredCall] = []
    rows: dict[_Name, range] = {}
    for name, answers in groups.items():
        rows[name] = range(len(calls), len(calls) + len(answers.ids))
        calls += [
            ScoredCall(place[id], prompts[id], ids)
            for id, ids in zip(answers.prompts, answers.ids, strict=True)
        ]
    table = score_calls(loader, calls, format)
    return {
        name: replace(table.take(list(own)), texts=groups[name].first_lines())
        for name, own in rows.items()
    }
