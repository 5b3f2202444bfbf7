"""Noun phrases, verb phrases and clauses made from the vocabulary."""

from __future__ import annotations

from random import Random

from . import vocabulary as v
from .names import word


def stuff(rng: Random) -> str:
    """Return a thing that is carried, stored or measured: 'cold water', 'salt and sugar'."""
    noun = word(rng) if rng.random() < 0.12 else rng.choice(v.STUFF)
    shape = rng.random()
    if shape < 0.45:
        return f"{rng.choice(v.ADJECTIVES)} {noun}"
    if shape < 0.55:
        return f"{noun} and {rng.choice(v.STUFF)}"
    return noun


def action(rng: Random) -> str:
    """Return a verb phrase in the base form: 'carry cold water through narrow tubes'."""
    phrase = f"{rng.choice(v.VERBS)} {stuff(rng)}"
    return f"{phrase} {rng.choice(v.PLACES)}" if rng.random() < 0.5 else phrase


def event(rng: Random) -> str:
    """Return a clause: 'the outer crust cools'."""
    return f"the {rng.choice(v.ADJECTIVES)} {rng.choice(v.THINGS)} {rng.choice(v.CHANGES)}"


def with_article(noun_phrase: str) -> str:
    """Return ``noun_phrase`` after 'a' or 'an'."""
    return ("an " if noun_phrase[0] in "aeiou" else "a ") + noun_phrase


def definition(rng: Random) -> str:
    """Return a definition of a subject: 'a slow process that stores energy'."""
    kind = rng.choice(v.KINDS)
    if rng.random() < 0.6:
        kind = f"{rng.choice(v.ADJECTIVES)} {kind}"
    shape = rng.randrange(11)
    if shape == 0:
        return f"the process by which {rng.choice(v.GROUPS)} {action(rng)}"
    if shape == 1:
        return f"the study of {stuff(rng)} {rng.choice(v.PLACES)}"
    if shape == 2:
        return f"{with_article(kind)} used to {action(rng)}"
    if shape == 3:
        return f"{with_article(kind)} in which {event(rng)}"
    if shape == 4:
        thing = f"{rng.choice(v.ADJECTIVES)} {rng.choice(v.THINGS)}"
        return f"the {thing} that {v.third_person(action(rng))}"
    if shape == 5:
        return f"what happens when {event(rng)}"
    if shape == 6:
        return f"the ability of {rng.choice(v.GROUPS)} to {action(rng)}"
    if shape == 7:
        return f"the {rng.choice(v.ADJECTIVES)} movement of {stuff(rng)} {rng.choice(v.PLACES)}"
    if shape == 8:
        both = f"{v.third_person(action(rng))} and {v.third_person(action(rng))}"
        return f"{with_article(kind)} that {both}"
    return f"{with_article(kind)} that {v.third_person(action(rng))}"
