"""In what way do a target's greedy answers differ from the reference's, and why?

Each prompt whose answers differ is put under the first kind that fits. Its text shows whether
white space, the stop, the length or the very beginning is the matter; the rest is a tie or
unexplained, which only the regret under local weights can tell (:mod:`phi2sdk.analysis.regret`).
What most differing prompts have in common is the signature of a cause.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, get_args

from phi2sdk.analysis.agreement import Pairing, common_prefix, same_cut, same_normalized
from phi2sdk.analysis.regret import Regret, TargetRegret
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer

__all__ = ["Cause", "Diagnosis", "Kind", "Unexplained", "diagnose"]

Kind = Literal[
    "white space", "past the stop", "tie", "shorter", "longer", "empty", "beginning", "unexplained"
]
"""How the answers to a prompt differ, from the most harmless."""

Cause = Literal[
    "equal",
    "white space",
    "stop kept",
    "numerics",
    "cut short",
    "runs on",
    "empty",
    "another template",
    "beginning",
    "sampling",
    "another precision",
    "another model",
    "few unexplained",
    "not scored",
    "mixed",
]
"""What the differences look like; ``another model`` may be the same one quantised heavily.

``beginning``: most answers differ from the first tokens on, and nothing says why. ``another
template`` is asserted only where local weights would have written these answers in it.
"""

MOST = 0.5
"""A signature is what more than this share shows."""
FREQUENT = 0.1
"""More unexplained prompts than this share of all are no accident."""
SMALL = 1.0
"""Nats: a quantised model prefers tokens that the reference finds not much less likely."""
SAME_LENGTH = 2
"""Answers cut at one place differ by so many tokens, since ours are not the provider's."""

_KINDS: Sequence[Kind] = get_args(Kind)
_SIGNATURES: Mapping[Kind, Cause] = {
    "white space": "white space",
    "past the stop": "stop kept",
    "tie": "numerics",
    "shorter": "cut short",
    "longer": "runs on",
    "empty": "empty",
}
_OPEN: frozenset[Kind] = frozenset({"beginning", "unexplained"})


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A token that was no close call, counted from 1, and its regret in nats."""

    prompt: str
    token: int
    regret: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a target's answers differ from the reference's.

    Attributes:
        cause: What most of the differences show.
        prompts: With an answer from both.
        differ: Of these, how many have answers that are not equal byte for byte.
        kinds: Of these, how many by kind.
        varies: Prompts to which the target gave more than one answer.
        cut_at: Tokens of its answers where they were all cut at one place.
        tie: Nats within which the reference might have chosen otherwise; ``None``: not scored.
        unexplained: Of the unexplained answers' first such tokens, the one with most regret.
        template: The other template in which the reference would have written the answers.
    """

    cause: Cause
    prompts: int
    differ: int
    kinds: Mapping[Kind, int]
    varies: int = 0
    cut_at: int | None = None
    tie: float | None = None
    unexplained: Unexplained | None = None
    template: str | None = None


def diagnose(
    pairing: Pairing, tokenizer: ReferenceTokenizer, regret: TargetRegret | None = None
) -> Diagnosis | None:
    """Say why answers differ; ``None`` where no prompt has an answer from both.

    Args:
        pairing: Answers of the reference and of the target.
        tokenizer: The reference tokenizer.
        regret: Of the target's answers, where there are local weights.
    """
    if not pairing.pairs:
        return None
    known = _by_answer(regret)
    found: dict[str, _Difference] = {}
    for prompt, pairs in pairing.pairs.items():
        distinct = {(a.raw, a.text, b.raw, b.text): (a, b) for a, b in pairs if a.raw != b.raw}
        differences = [
            _difference(a, b, tokenizer, known.get((prompt, b.key.repetition)))
            for a, b in distinct.values()
        ]
        if differences:
            found[prompt] = max(differences, key=lambda one: _KINDS.index(one.kind))
    counts = Counter(one.kind for one in found.values())
    varies = sum(len({b.text for _, b in pairs}) > 1 for pairs in pairing.pairs.values())
    unclear = {prompt: one.regret for prompt, one in found.items() if one.kind in _OPEN}
    template = regret.template if regret else None
    cause = _cause(counts, len(pairing.pairs), varies, list(unclear.values()), template)
    short = [one.tokens for one in found.values() if one.kind == "shorter"]
    return Diagnosis(
        cause=cause,
        prompts=len(pairing.pairs),
        differ=len(found),
        kinds=dict(counts),
        varies=varies,
        cut_at=_cut_at(short) if cause == "cut short" else None,
        tie=regret.tie if regret else None,
        unexplained=_worst(unclear),
        template=template,
    )


@dataclass(frozen=True, slots=True)
class _Difference:
    """Between two answers: its kind, the target's tokens, their regret."""

    kind: Kind
    tokens: int
    regret: Regret | None


def _difference(
    a: Record, b: Record, tokenizer: ReferenceTokenizer, regret: Regret | None
) -> _Difference:
    theirs, own = tokenizer.encode(a.text), tokenizer.encode(b.text)
    return _Difference(_kind(a, b, common_prefix(theirs, own), regret), len(own), regret)


def _kind(a: Record, b: Record, shared: int, regret: Regret | None) -> Kind:
    if same_normalized(a, b):
        return "white space"
    if same_cut(a, b):
        return "past the stop"
    if not b.text:
        return "empty"
    if a.text.startswith(b.text):  # before ties: what is there has no regret
        return "shorter"
    if regret is not None and regret.first is None:
        return "tie"
    if a.text and b.text.startswith(a.text):
        return "longer"
    return "beginning" if shared <= 1 else "unexplained"


def _by_answer(regret: TargetRegret | None) -> dict[tuple[str, int], Regret]:
    """By prompt and repetition, for the answers that part from the reference's."""
    forks = regret.forks if regret else ()
    return {(fork.prompt, again): fork.regret for fork in forks for again in fork.repetitions}


def _cause(
    counts: Mapping[Kind, int],
    prompts: int,
    varies: int,
    unclear: Sequence[Regret | None],
    template: str | None,
) -> Cause:
    if not counts:
        return "equal"
    known = [regret.maximum for regret in unclear if regret is not None]
    frequent = len(unclear) > FREQUENT * prompts
    if frequent and varies > FREQUENT * prompts:
        return "sampling"
    if counts.get("beginning", 0) > MOST * prompts:
        return "another template" if template else "beginning"
    if frequent and known:
        return "another precision" if median(known) <= SMALL else "another model"
    if frequent:
        return "not scored"
    for kind, cause in _SIGNATURES.items():
        if counts.get(kind, 0) > MOST * sum(counts.values()) and not (unclear and kind == "tie"):
            return cause
    if unclear:
        return "few unexplained" if known else "not scored"
    return "mixed"


def _cut_at(lengths: Sequence[int]) -> int | None:
    middle = sorted(lengths)[len(lengths) // 2]
    near = sum(abs(length - middle) <= SAME_LENGTH for length in lengths)
    return middle if near > MOST * len(lengths) else None


def _worst(unclear: Mapping[str, Regret | None]) -> Unexplained | None:
    found = [
        Unexplained(prompt, regret.first + 1, regret.at_first)
        for prompt, regret in unclear.items()
        if regret is not None and regret.first is not None and regret.at_first is not None
    ]
    return max(found, key=lambda one: one.regret, default=None)
