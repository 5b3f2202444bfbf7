"""Diagnose the cause of differences between a target's greedy answers and the reference's.

Each prompt with different answers is assigned to the first kind of difference that fits. The texts
show differences in white space, at the stop, in length, or from the first tokens. The other
differences are ties or unexplained, which only the regret under local weights distinguishes
(:mod:`phi2sdk.analysis.regret`). The kind of most differences is the signature of a cause.
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

Kind = Literal[
    "white space", "past the stop", "tie", "shorter", "longer", "empty", "beginning", "unexplained"
]
"""Kinds of differences between the answers to a prompt, beginning with the most harmless."""

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
"""Causes of differences. ``another model`` includes a heavy quantization of the same model.

``beginning`` means that most answers differ from the first tokens, for an unknown reason.
``another template`` is stated only if local weights would have written these answers in it.
"""

MOST = 0.5
"""Share of the differences above which a kind is the signature."""
FREQUENT = 0.1
"""Share of all prompts above which unexplained differences are significant."""
SMALL = 1.0
"""Regret in nats up to which a difference may come from quantization."""
SAME_LENGTH = 2
"""Tolerance in tokens for answers cut at one length, because the provider's tokenizer differs."""

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
    """A token that is not a tie, by its position from 1, and its regret in nats."""

    prompt: str
    token: int
    regret: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The cause of differences between a target's answers and the reference's.

    Attributes:
        cause: The cause of most differences.
        prompts: Number of prompts with an answer from both.
        differ: Number of prompts whose answers are not equal byte for byte.
        kinds: Number of these prompts by kind of difference.
        varies: Number of prompts to which the target gave more than one answer.
        cut_at: Length of the target's answers in tokens, if all were cut at one length.
        tie: Limit for a tie in nats; ``None`` if answers were not scored.
        unexplained: The token with the largest regret among the unexplained differences.
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
    """Return the cause of differences; ``None`` if no prompt has an answer from both.

    Args:
        pairing: Answers of the reference and of the target.
        tokenizer: The reference tokenizer.
        regret: The regret of the target's answers, if there are local weights.
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
    """A difference between two answers: its kind, the target's tokens, and their regret."""

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
    if a.text.startswith(b.text):  # before ties, because the common tokens have no regret
        return "shorter"
    if regret is not None and regret.first is None:
        return "tie"
    if a.text and b.text.startswith(a.text):
        return "longer"
    return "beginning" if shared <= 1 else "unexplained"


def _by_answer(regret: TargetRegret | None) -> dict[tuple[str, int], Regret]:
    """Return the regrets by prompt and repetition of answers that differ from the reference's."""
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
