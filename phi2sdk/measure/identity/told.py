"""What endpoints told of given texts, and what other precisions find, beside the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from phi2sdk.measure.folder import Run
from phi2sdk.measure.identity.teacher_forced import TeacherForced, as_told, compare_told
from phi2sdk.measure.identity.weights import Loader

__all__ = ["told_figures"]


def told_figures(
    run: Run, loader: Loader, honest: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures by target, and by honest precision against the reference on the same texts.

    Both are empty where no endpoint was asked.

    Args:
        run: The run.
        loader: Loads the weights.
        honest: Precisions whose numbers do not overflow; the first is the reference.
    """
    if not run.told:
        return {}, {}
    prompts, (first, *others) = run.identity_prompts, honest
    model = loader.load(first)
    targets = {}
    for name in dict.fromkeys(one.target for one in run.told):
        mine = [one for one in run.told if one.target == name]
        told = [(prompts[one.prompt], one.text, one.tokens) for one in mine if one.error is None]
        failed = len(mine) - len(told)
        found = compare_told(model, told, {"failed": failed} if failed else {})
        targets[name] = _figures(found) | {"left_out": dict(found.left_out)}
    texts = list(dict.fromkeys((prompts[one.prompt], one.text) for one in run.told))
    own = {name: as_told(loader.load(name), texts) for name in others}
    model = loader.load(first)
    precisions = {
        name: compare_told(
            model, [(*pair, tokens) for pair, tokens in zip(texts, told, strict=True)]
        )
        for name, told in own.items()
    }
    return targets, {name: _figures(found) for name, found in precisions.items() if found.tokens}


def _figures(found: TeacherForced) -> dict[str, Any]:
    return {
        "answers": found.answers,
        "tokens": found.tokens,
        "mean_difference": found.mean_difference,
        "p99_difference": found.p99_difference,
        "top1": found.top1,
        "kl_lower_bound": found.kl_lower_bound,
    }
