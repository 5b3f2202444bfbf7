"""Find properties of a target's answers that are not properties of its model.

A provider may cap the answers, cut them, change their white space, or answer from a cache. Each of
these has a test of its own against the control, and each is undone on both sides before the model
is tested: the control's answers are cut, normalized or reduced in the same way as the target's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phi2sdk.identity.permutation import PERMUTATIONS, family, greatest, residuals
from phi2sdk.measure.records import Record
from phi2sdk.measure.sampled import Answers, Codec

__all__ = ["Comparable", "Finding", "comparable", "count_finding", "finish_finding", "same_words"]

LEVEL = 0.01
"""The probability that an honest target gets any finding. It is not divided by the number of
targets, because a finding rejects nobody."""
NEARLY_ALL = 0.9
NEARLY_NONE = 0.02
AT_CAP = 0.85
"""An answer of this share of the cap or more was probably cut there: a text that is encoded again
does not have quite as many tokens as were sampled."""
LONGEST = 0.98
"""The quantile of the lengths that is taken for the cap."""
BEYOND = 0.1
"""A cap is visible where this share of the control's answers is longer."""
SHORT = 0.8
"""An answer below this share of ``max_tokens`` did not end for its length."""
LEAST = 3
"""Contradictory finish reasons of fewer answers, or of a smaller share, are not reported."""
LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """One property of a target's answers.

    Attributes:
        kind: The property: ``capped``, ``first-sentence``, ``cut``, ``shorter``, ``longer``,
            ``line-breaks`` and other white space, ``repeats``, ``finish-reason``, ``counts``.
        p: The p-value of its test; ``None`` where the property was read and not tested.
        figures: The numbers of its sentence.
    """

    kind: str
    p: float | None
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparable:
    """The answers of a target and of its control that are compared to test the model.

    Attributes:
        target: The answers of the target.
        control: The answers of the local weights by honest precision, treated in the same way.
        findings: What was found and undone, by subject.
        treated: Whether any text differs from what was received, with or without a finding.
    """

    target: Answers
    control: Mapping[str, Answers]
    findings: Mapping[str, Finding] = field(default_factory=dict)
    treated: bool = False

    def map(self, change: Callable[[str], str]) -> Comparable:
        """Return both sides with their texts changed; texts that become empty are dropped."""
        return self.with_sides(lambda one: _changed(one, map(change, one.texts)))

    def with_sides(self, change: Callable[[Answers], Answers]) -> Comparable:
        """Return the same findings with both sides changed."""
        return replace(
            self,
            target=change(self.target),
            control={name: change(one) for name, one in self.control.items()},
            treated=True,
        )

    def found(self, subject: str, finding: Finding) -> Comparable:
        """Return the same answers with one more finding."""
        return replace(self, findings={**self.findings, subject: finding})


def comparable(
    target: Answers,
    control: Mapping[str, Answers],
    codec: Codec,
    *,
    level: float = LEVEL,
    spaces_differ: bool = False,
) -> Comparable:
    """Test the answers for repeats, lengths and white space, and undo what is found.

    The tests use the control of the first precision only, since the answers of the others were
    drawn with the same random numbers.

    Args:
        target: The answers of a target.
        control: Those of the local weights, by honest precision.
        codec: Counts and cuts tokens.
        level: The probability that an honest target gets any finding.
        spaces_differ: Whether the greedy answers differ from the reference's in white space only.
    """
    found = Comparable(target, control)
    if not target.texts or not _own(found).texts:
        return found
    found = _repeats(found, level / 2)
    p = _p_values(found)
    equally_long = _length(found, codec, p["length"], level / 2)
    if not equally_long.target.texts or not _own(equally_long).texts:
        return equally_long
    if equally_long is not found:  # a cut also removes line breaks
        p = _p_values(equally_long)
    return _white_space(equally_long, p["white-space"], level / 2, spaces_differ)


def _p_values(found: Comparable) -> Mapping[str, float]:
    """Return the p-values of length and white space, adjusted for each other."""
    texts = (*found.target.texts, *_own(found).texts)
    letters = np.array(list(map(_letters, texts)))
    deciles = np.quantile(letters, np.arange(0.1, 1, 0.1))
    unfinished = [_whole_words(text) != text for text in texts]
    columns = {
        "length": np.column_stack([letters[:, None] > deciles, unfinished]),
        "white-space": np.array([[has(text) for has in _SPACES.values()] for text in texts]),
    }
    return _permuted(found, columns)


def _permuted(found: Comparable, columns: Mapping[str, NDArray[Any]]) -> Mapping[str, float]:
    """Return the p-value of each group of columns, target against control, adjusted.

    A property that a target always has is plain where the control rarely has it. One that it never
    has is not, so an excess of white space counts half as much as a lack of it.
    """
    names = (*found.target.prompts, *_own(found).prompts)
    prompt = np.unique(names, return_inverse=True)[1].astype(np.int64)
    none = np.zeros(len(names))
    statistics = {}
    for name, values in columns.items():
        own = residuals(values.astype(np.float64), none, prompt)[0]
        if name == "white-space":
            statistics[name] = greatest(np.hstack((-own, own / 2)))
        else:
            statistics[name] = greatest(own, two_sided=True)
    target = np.arange(len(names)) < len(found.target.prompts)
    return family(statistics, target, prompt, permutations=PERMUTATIONS).adjusted


def _own(found: Comparable) -> Answers:
    """Return the control of the first precision."""
    return next(iter(found.control.values()))


# ------------------------------------------------------------------------ repeats


def _repeats(found: Comparable, level: float) -> Comparable:
    """Equal answers to one prompt: a cache, a fixed seed, greedy decoding."""
    sides = (found.target, _own(found))
    pairs = [pair for one in sides for pair in zip(one.prompts, one.texts, strict=True)]
    times = Counter(pairs)
    values = np.array([[times[pair] - 1] for pair in pairs])
    p = _permuted(found, {"repeats": values})["repeats"]
    repeated, own_repeated = (len(one.texts) - len(_distinct(one).texts) for one in sides)
    counts = [len(one.texts) for one in sides]
    if p > level or repeated * counts[1] <= own_repeated * counts[0]:
        return found
    figures = {
        "repeated": repeated,
        "answers": counts[0],
        "control_repeated": own_repeated,
        "control_answers": counts[1],
    }
    return found.with_sides(_distinct).found("repeats", Finding("repeats", p, figures))


def _distinct(answers: Answers) -> Answers:
    pairs = list(zip(answers.prompts, answers.texts, strict=True))
    first = {pair: at for at, pair in reversed(list(enumerate(pairs)))}
    return _changed(
        answers, (text if first[id, text] == at else "" for at, (id, text) in enumerate(pairs))
    )


# ------------------------------------------------------------------------- length


def _length(found: Comparable, codec: Codec, p: float, level: float) -> Comparable:
    """A cap, a cut, or lengths of another distribution; white space does not count.

    Answers that would lose most of their texts, such as single words, are compared as they are.
    """
    if p > level:
        return found
    undone = _cut(found, codec, p)
    if len(undone.target.texts) * 2 < len(found.target.texts):
        return replace(found, findings=undone.findings)
    return undone


def _cut(found: Comparable, codec: Codec, p: float) -> Comparable:
    sides = found.target.texts, _own(found).texts
    tokens, control_tokens = ([len(codec.encode(text)) for text in texts] for texts in sides)
    figures = {"mean": fmean(tokens), "control_mean": fmean(control_tokens)}
    cap = _cap(tokens)
    if _capped(tokens, control_tokens):
        figures |= {"cap": cap, "control_longest": max(control_tokens)}
        undone = found.map(lambda text: _whole_words(_first_tokens(text, cap, codec)))
        return undone.found("length", Finding("capped", p, figures))
    single, control_single = (fmean(map(_one_sentence, texts)) for texts in sides)
    if single >= NEARLY_ALL and control_single <= 0.5:
        figures |= {"single": single, "control_single": control_single}
        undone = found.map(_first_sentence)
        return undone.found("length", Finding("first-sentence", p, figures))
    undone = _equally_long(found.map(_whole_words))
    unfinished, control_unfinished = (
        fmean(_whole_words(text) != text for text in texts) for texts in sides
    )
    letters, control_letters = (fmean(map(_letters, texts)) for texts in sides)
    if letters >= control_letters:
        return undone.found("length", Finding("longer", p, figures))
    if unfinished < NEARLY_ALL or control_unfinished > unfinished - BEYOND:
        return undone.found("length", Finding("shorter", p, figures))
    figures |= {"unfinished": unfinished, "control_unfinished": control_unfinished}
    return undone.found("length", Finding("cut", p, figures))


def _capped(tokens: Sequence[int], control: Sequence[int]) -> bool:
    """Return whether as many answers are at the cap as the control has there and beyond."""
    cap = _cap(tokens)
    beyond = fmean(count > cap for count in control)
    at_cap, expected = (fmean(n >= AT_CAP * cap for n in side) for side in (tokens, control))
    return beyond >= BEYOND and at_cap >= 0.75 * expected


def _cap(tokens: Sequence[int]) -> int:
    return int(np.quantile(tokens, LONGEST, method="inverted_cdf"))


def _equally_long(found: Comparable) -> Comparable:
    """Both sides cut to the words that answers of their rank in length have on the other side."""
    target, control = _word_counts(found.target), _word_counts(_own(found))
    return replace(
        found,
        target=_cut_to_ranks(found.target, control),
        control={name: _cut_to_ranks(one, target) for name, one in found.control.items()},
    )


def _cut_to_ranks(answers: Answers, other: Sequence[int]) -> Answers:
    own = _word_counts(answers)
    if not own or not other:
        return answers
    rank = np.argsort(np.argsort(own, kind="stable"), kind="stable")
    limit = np.quantile(other, (rank + 0.5) / len(own), method="inverted_cdf")
    texts = zip(answers.texts, limit.tolist(), strict=True)
    return _changed(answers, [_first_words(text, int(most)) for text, most in texts])


def _word_counts(answers: Answers) -> list[int]:
    return [len(text.split()) for text in answers.texts]


def _letters(text: str) -> int:
    return sum(map(len, text.split()))


def _first_words(text: str, count: int) -> str:
    found = re.match(rf"(?:\s*\S+){{0,{max(0, count)}}}", text)
    return found.group() if found else ""


def _first_tokens(text: str, count: int, codec: Codec) -> str:
    ids = codec.encode(text)
    return text if len(ids) <= count else codec.decode(ids[:count]).rstrip("\ufffd")


def _whole_words(text: str) -> str:
    """Without a last word that may have been cut; the end of a sentence is kept."""
    if text.rstrip().endswith((".", "!", "?")):
        return text
    return re.sub(r"\s*\S+\s*$", "", text)


def _first_sentence(text: str) -> str:
    found = re.match(r"\s*.*?[.!?](?=\s|$)", text, re.DOTALL)
    return found.group() if found else text


def _one_sentence(text: str) -> bool:
    ends = text.rstrip().endswith((".", "!", "?"))
    return ends and text.strip() == _first_sentence(text).strip()


# -------------------------------------------------------------------- white space

_SPACES: Mapping[str, Callable[[str], bool]] = {
    "line-breaks": lambda text: "\n" in text.strip(),
    "wide-spaces": lambda text: re.search(r"[^\S\n]{2}|\t", text.strip()) is not None,
    "leading-space": lambda text: text[:1].isspace(),
    "trailing-space": lambda text: text[-1:].isspace(),
}


def _white_space(found: Comparable, p: float, level: float, greedy: bool) -> Comparable:
    """White space that a target always or never has, unlike the control.

    It does not count in the tests of the model even where it may be due to chance.
    """
    kinds = [kind for kind, has in _SPACES.items() if _always_otherwise(found, has)]
    if not kinds and not greedy:
        return found
    undone = found.map(_one_space)
    if p > level or not kinds:
        return undone.found("white-space", Finding("greedy-answers", None)) if greedy else undone
    share, control = (
        fmean(map(_SPACES[kinds[0]], texts)) for texts in (found.target.texts, _own(found).texts)
    )
    figures = {"share": share, "control_share": control}
    return undone.found("white-space", Finding(kinds[0], p, figures))


def _always_otherwise(found: Comparable, has: Callable[[str], bool]) -> bool:
    own, control = (fmean(map(has, texts)) for texts in (found.target.texts, _own(found).texts))
    if own <= NEARLY_NONE:
        return control > NEARLY_NONE
    return control <= NEARLY_NONE or (own >= 1 - NEARLY_NONE > control)


def _one_space(text: str) -> str:
    """With one space in place of each run of white space, at the beginning too."""
    return f"{' ' if text[:1].isspace() else ''}{' '.join(text.split())}"


def same_words(a: str, b: str) -> bool:
    """Return whether two different texts differ in nothing but the white space inside them.

    >>> same_words("one\\ntwo", "one two"), same_words("one", "one ")
    (True, False)
    """
    return a.strip() != b.strip() and a.split() == b.split()


# ------------------------------------------------- finish reasons and token counts


def finish_finding(
    records: Sequence[Record], codec: Codec, max_tokens: int, cap: float | None
) -> Finding | None:
    """Return the finish reasons that contradict the answers, if there are more than a few.

    Args:
        records: The sampled answers of a target.
        codec: Counts tokens.
        max_tokens: The requested maximum.
        cap: The tokens at which the target caps its answers, where it does.
    """
    told = [one for one in records if one.error is None and one.finish_reason and one.raw]
    early = [
        one
        for one in told
        if one.finish_reason == "length" and len(codec.encode(one.raw)) < SHORT * max_tokens
    ]
    unfinished = [
        one
        for one in told
        if cap is not None
        and one.finish_reason == "stop"
        and len(codec.encode(one.raw)) >= AT_CAP * cap
        and _whole_words(one.raw) != one.raw
    ]
    if max(len(early), len(unfinished)) < max(LEAST, LEAST_SHARE * len(told)):
        return None
    figures = {
        "early": len(early), "unfinished": len(unfinished), "answers": len(told),
        "max_tokens": max_tokens,
    }  # fmt: skip
    return Finding("finish-reason", None, figures)


def count_finding(answers: Answers) -> Finding | None:
    """Return the provider's token counts where most of them differ from those of the tokenizer.

    Some always differ, because a sampled text need not have the tokens that the tokenizer gives it.

    Args:
        answers: The answers of a target with their tokens.
    """
    known = [
        (count[0], len(ids))
        for count, ids in zip(answers.counted, answers.ids, strict=True)
        if count is not None
    ]
    if len(known) < LEAST or answers.counts_differ <= len(known) / 2:
        return None
    figures = {
        "differ": answers.counts_differ,
        "answers": len(known),
        "counted": sum(count for count, _ in known),
        "tokens": sum(own for _, own in known),
    }
    return Finding("counts", None, figures)


def _changed(answers: Answers, texts: Iterable[str]) -> Answers:
    """Return the answers with other texts, without empty ones.

    A text that is the beginning of the old one keeps its tokens: those of the whole text are cut.
    """
    kept = [
        (prompt, text, whole if whole.startswith(text) else text)
        for prompt, text, whole in zip(answers.prompts, texts, answers.whole_texts, strict=True)
        if text.strip()
    ]
    prompts, changed, whole_texts = zip(*kept, strict=True) if kept else ((), (), ())
    return replace(
        answers,
        prompts=prompts,
        texts=changed,
        whole_texts=whole_texts,
        counted=(None,) * len(kept),
        ids=(),
    )
