"""Measure the quality of one target's answers, prompt by prompt.

Every similarity ``s`` is reported with ``s0``, the similarity to the references of other prompts,
because texts of one kind are similar by chance. ``(s - s0) / (1 - s0)`` is the similarity above
chance. Failed requests have no score; the report counts them separately.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from phi2sdk.analysis.statistics import Estimate, Quantile, mean_over_prompts, quantile
from phi2sdk.analysis.text_similarity import Encoder, chrf, cosines, rouge_l, unsupported, words
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer

SHUFFLES, PAIRS = 10, 1000
"""Number of references of other prompts for each answer, and for all answers."""

LONGEST = 50_000
"""Maximum number of characters of an answer that are read, several times the model's context. A
provider may send megabytes, and the time for a similarity is quadratic."""

_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s+[^\sa-z])|[。！？]|\n\s*\n")

Score = Callable[[str, str], float]


@dataclass(frozen=True, slots=True)
class Likeness:
    """The similarity between answers and their references.

    Attributes:
        prompts: Number of prompts with answer and reference.
        value: The mean over prompts.
        baseline: The mean with references of other prompts; ``None`` with fewer than two.
        above_chance: ``(value - baseline) / (1 - baseline)``; ``None`` if the baseline is 1.
    """

    prompts: int
    value: Estimate
    baseline: float | None
    above_chance: float | None


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of one target's answers.

    Attributes:
        prompts: Number of prompts with an answer.
        rouge_l, chrf, cosine: Similarity to the references, from 0 to 1 (cosine: from -1).
        faithful: Share of an answer's numbers and names that the source has.
        unsupported: Share of prompts with a number or name that the source lacks.
        tokens: Median length of the cut answers in tokens.
        length_ratio: Median ratio of answer length to reference length, in words.
        past_first_sentence: Mean share of an answer's words after its first sentence.
        unknown: The reason for each value that is ``None``.
    """

    prompts: int
    rouge_l: Likeness | None = None
    chrf: Likeness | None = None
    cosine: Likeness | None = None
    faithful: Likeness | None = None
    unsupported: Estimate | None = None
    tokens: Quantile | None = None
    length_ratio: Quantile | None = None
    past_first_sentence: Estimate | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)


def quality(
    records: Sequence[Record],
    tokenizer: ReferenceTokenizer,
    *,
    references: Mapping[str, str],
    sources: Mapping[str, str],
    encoder: Encoder | None = None,
) -> Quality | None:
    """Measure a target's greedy answers; ``None`` where it has none.

    Args:
        records: The records of one target.
        tokenizer: The reference tokenizer.
        references: A good answer by prompt, for some or all prompts.
        sources: The summarized text by prompt; empty if answers are not summaries.
        encoder: The encoder for the cosine; ``None`` for no cosine.
    """
    whole: dict[str, list[str]] = {}
    for record in records:
        if record.ok and record.key.arm == "greedy":
            whole.setdefault(record.key.prompt, []).append(record.text)
    if not whole:
        return None
    answers = {prompt: [text[:LONGEST] for text in texts] for prompt, texts in whole.items()}
    unknown: dict[str, str] = {}
    given = {prompt: text for prompt, text in references.items() if prompt in answers}
    if not given:
        unknown |= dict.fromkeys(("rouge_l", "chrf", "cosine"), "the input has no references")
    elif encoder is None:
        unknown["cosine"] = "no --quality-model was given"
    chrf_found = None
    if given:
        try:
            chrf_found = likeness(answers, given, chrf)
        except ImportError:
            unknown["chrf"] = "sacrebleu is not installed: pip install 'phi2sdk[quality]'"
    if not sources:
        unknown["faithful"] = "only summaries have a source"
    sizes = [len(words(reference)) for reference in given.values()]
    ratios = [
        _mean_of(lambda text: len(words(text)), answers[prompt]) / size
        for prompt, size in zip(given, sizes, strict=True)
        if size
    ]
    return Quality(
        prompts=len(answers),
        rouge_l=likeness(answers, given, rouge_l) if given else None,
        chrf=chrf_found,
        cosine=likeness(answers, given, _cosine(encoder, answers, given), low=-1.0)
        if given and encoder is not None
        else None,
        faithful=likeness(answers, sources, _supported) if sources else None,
        unsupported=mean_over_prompts(
            [
                _mean_of(partial(_invents, source=sources[prompt]), texts)
                for prompt, texts in answers.items()
            ]
        )
        if sources.keys() >= answers.keys()
        else None,
        tokens=quantile([_mean_of(tokenizer.count, texts) for texts in whole.values()], 0.5),
        length_ratio=quantile(ratios, 0.5) if ratios else None,
        past_first_sentence=mean_over_prompts(
            [_mean_of(_past_first, texts) for texts in answers.values()]
        ),
        unknown=unknown,
    )


def likeness(
    answers: Mapping[str, Sequence[str]],
    references: Mapping[str, str],
    score: Callable[[str, str], float | None],
    *,
    low: float = 0.0,
) -> Likeness | None:
    """Return the mean score over prompts, and the mean score of shuffled pairs.

    Args:
        answers: The answers by prompt, one per repetition.
        references: The reference by prompt.
        score: A score from ``low`` to 1; ``None`` excludes a pair.
        low: The lowest possible score.
    """
    scored: dict[str, float] = {}
    for prompt, texts in answers.items():
        if prompt in references:
            once = {text: score(text, references[prompt]) for text in set(texts)}
            if known := [value for text in texts if (value := once[text]) is not None]:
                scored[prompt] = _mean(known)
    if not scored:
        return None
    prompts = list(scored)
    by_chance = [
        value
        for mine, other in _shuffled(len(prompts))
        if (value := score(answers[prompts[mine]][0], references[prompts[other]])) is not None
    ]
    baseline = _mean(by_chance) if by_chance else None
    found = mean_over_prompts(list(scored.values()), low=low)
    left = None
    if baseline is not None and baseline <= 1 - 1e-9:
        left = (found.value - baseline) / (1 - baseline)
    return Likeness(len(scored), found, baseline, left)


def first_sentence(text: str) -> str:
    """Return the text up to the end of its first sentence, found by punctuation."""
    stripped = text.strip()
    found = _SENTENCE_END.search(stripped)
    return stripped if found is None else stripped[: found.end()]


def _past_first(text: str) -> float:
    whole = len(words(text))
    return 1.0 - len(words(first_sentence(text))) / whole if whole else 0.0


def _invents(summary: str, source: str) -> bool:
    return unsupported(summary, source)[0] > 0


def _supported(summary: str, source: str) -> float | None:
    missing, everything = unsupported(summary, source)
    return 1.0 - missing / everything if everything else None


def _cosine(
    encoder: Encoder, answers: Mapping[str, Sequence[str]], references: Mapping[str, str]
) -> Score:
    texts = [text for prompt in references for text in answers[prompt]]
    vectors = cosines(encoder, [*texts, *references.values()])
    return lambda a, b: float(np.clip(vectors[a] @ vectors[b], -1.0, 1.0))


def _shuffled(n: int) -> list[tuple[int, int]]:
    """Yield pairs of different prompts: a random order, shifted by 1, 2, ... positions."""
    order = np.random.default_rng(0).permutation(n)
    return [
        (int(mine), int(other))
        for shift in range(1, min(SHUFFLES, n - 1, max(1, PAIRS // n)) + 1)
        for mine, other in zip(order, np.roll(order, shift), strict=True)
    ]


def _mean_of(measure: Callable[[str], float], texts: Sequence[str]) -> float:
    """Return the mean over texts, computing the value of equal texts once."""
    once = {text: measure(text) for text in set(texts)}
    return _mean([once[text] for text in texts])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
