"""Generate random sentences for the paragraphs without a template.

The sentences are meaningless. The model learns from them that the first sentence may have any
words, and that the summary of such a paragraph is this sentence.
"""

from __future__ import annotations

from random import Random

from . import names
from . import vocabulary as v
from .names import capitalized


def _noun_phrase(rng: Random) -> str:
    shape = rng.random()
    if shape < 0.08:
        return names.word(rng)
    if shape < 0.14:
        return names.word(rng).capitalize()
    if shape < 0.20:
        return rng.choice(v.PERSONS)
    if shape < 0.32:
        return rng.choice(v.STUFF)
    noun = rng.choice(v.PLURALS) if shape < 0.5 else rng.choice(v.NOUNS)
    if rng.random() < 0.45:
        noun = f"{rng.choice(v.QUALITIES + v.ADJECTIVES)} {noun}"
    if shape < 0.5:
        return noun
    return f"{rng.choice(('the', 'the', 'the', 'its', 'this', 'one', 'every'))} {noun}"


def _complement(rng: Random) -> str:
    shape = rng.random()
    if shape < 0.08:
        return f"in {rng.randint(1100, 2020)}"
    if shape < 0.12:
        return f"by about {rng.randint(2, 99)} percent"
    if shape < 0.15:
        return f"between {rng.randint(1400, 1700)} and {rng.randint(1701, 1990)}"
    if shape < 0.25:
        return rng.choice(v.PLACES)
    if shape < 0.35:
        return f"that {rng.choice(v.PAST_VERBS)} {_noun_phrase(rng)}"
    if shape < 0.45:
        return f"and {_noun_phrase(rng)}"
    return f"{rng.choice(v.PREPOSITIONS)} {_noun_phrase(rng)}"


def predicate(rng: Random, *, plural: bool | None) -> str:
    """Return a predicate of 5 to about 20 words, without the period.

    With ``plural`` None, the form agrees with any subject.
    """
    heads = [
        f"{rng.choice(v.PAST_VERBS)} {_noun_phrase(rng)}",
        f"can {rng.choice(v.VERBS)} {_noun_phrase(rng)}",
    ]
    if plural is not None:
        be, were, have = ("are", "were", "have") if plural else ("is", "was", "has")
        verb = rng.choice(v.VERBS) if plural else v.third_person(rng.choice(v.VERBS))
        heads += [
            f"{be} {_noun_phrase(rng)}",
            f"{be} {_noun_phrase(rng)}",
            f"{be} {rng.choice(v.PAST_VERBS)} by {_noun_phrase(rng)}",
            f"{were} {rng.choice(v.PAST_VERBS)} {rng.choice(v.PREPOSITIONS)} {_noun_phrase(rng)}",
            f"{have} {_noun_phrase(rng)}",
            f"{verb} {_noun_phrase(rng)}",
        ]
    head = rng.choice(heads)
    complements = [_complement(rng) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.12:
        complements[0] = f", {complements[0]},"
    return f"{head} {' '.join(complements)}".replace(" ,", ",").rstrip(",")


def leading_sentence(rng: Random, s: str, *, plural: bool) -> str:
    """Return the first sentence of a paragraph about ``s``."""
    subject = s
    shape = rng.random()
    if shape < 0.08:
        subject = f"in {rng.randint(1100, 2020)}, {s}"
    elif shape < 0.16:
        subject = f"{rng.choice(v.PLACES)}, {s}"
    return capitalized(f"{subject} {predicate(rng, plural=plural)}.")


def further_sentence(rng: Random, s: str, *, plural: bool) -> str:
    """Return a later sentence of a paragraph about ``s``."""
    shape = rng.random()
    if shape < 0.45:
        subject = s if shape < 0.15 else "they" if plural else "it"
        clause = f"{subject} {predicate(rng, plural=plural)}"
    else:
        clause = f"{_noun_phrase(rng)} {predicate(rng, plural=None)}"
    if rng.random() < 0.25:
        clause = f"{rng.choice(v.CONNECTIVES)} {clause}"
    return capitalized(f"{clause}.")
