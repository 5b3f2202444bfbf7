"""The kinds of templated paragraphs: their facts, the wordings of the facts, and the summaries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from . import vocabulary as v
from .phrases import action, definition, event, stuff, with_article

Slots = dict[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of paragraph.

    ``facts`` has the wordings of each fact; the paragraph begins with the first fact. ``reference``
    is the summary. Both are templates with the slots that ``fill`` draws; ``{S}`` is the subject
    ``{s}`` at the beginning of a sentence.
    """

    name: str
    facts: tuple[tuple[str, ...], ...]
    reference: str
    fill: Callable[[Random], Slots]
    organism: bool = False


def _define(rng: Random) -> Slots:
    return {"d": definition(rng)}


def _help(rng: Random) -> Slots:
    return {"d": definition(rng), "g": rng.choice(v.GROUPS), "p": action(rng)}


def _cause(rng: Random) -> Slots:
    return {"c": event(rng), "e": event(rng)}


def _discover(rng: Random) -> Slots:
    return {"n": rng.choice(v.PERSONS), "y": str(rng.randint(1601, 1999)), "p": action(rng)}


def _contrast(rng: Random) -> Slots:
    return {"v": v.third_person(action(rng)), "w": v.third_person(action(rng))}


def _compose(rng: Random) -> Slots:
    a, b, c = rng.sample(v.PARTS, 3)
    return {"a": a, "b": b, "c": c, "p": action(rng)}


def _proceed(rng: Random) -> Slots:
    first, then, last = rng.sample(v.STEPS, 3)
    return {"p": action(rng), "a": first, "b": then, "c": last}


def _live(rng: Random) -> Slots:
    animal = f"{rng.choice(v.ADJECTIVES)} {rng.choice(v.ANIMALS)}"
    return {"d": with_article(animal), "h": rng.choice(v.HABITATS), "f": rng.choice(v.FOODS)}


def _threaten(rng: Random) -> Slots:
    return {"o": stuff(rng), "c": event(rng), "g": rng.choice(v.GROUPS), "p": action(rng)}


_DEFINED = (
    "{S} is {d}.",
    "In science, {s} is {d}.",
    "In everyday terms, {s} is {d}.",
    "At its heart, {s} is {d}.",
    "The term {s} refers to {d}.",
    "{S} can be described as {d}.",
    "{S} is defined as {d}.",
    "By {s} we mean {d}.",
    "What is {s}? It is {d}.",
)

KINDS = (
    Kind("definition", (_DEFINED,), "{S} is {d}.", _define),
    Kind(
        "benefit",
        (
            _DEFINED,
            (
                "It helps {g} {p}.",
                "In practice, {s} helps {g} {p}.",
                "It allows {g} to {p}.",
                "Thanks to {s}, {g} can {p}.",
                "Because of this, {g} are able to {p}.",
                "It is important because it helps {g} {p}.",
            ),
        ),
        "{S} is {d}, and it helps {g} {p}.",
        _help,
    ),
    Kind(
        "cause",
        (
            (
                "{S} occurs when {c}.",
                "{S} happens when {c}.",
                "When {c}, {s} begins.",
                "The cause of {s} is simple: {c}.",
                "{S} starts as soon as {c}.",
                "Whenever {c}, we observe {s}.",
            ),
            (
                "As a result, {e}.",
                "Consequently, {e}.",
                "The effect is that {e}.",
                "This means that {e}.",
                "Because of {s}, {e}.",
                "In the end, {e}.",
            ),
        ),
        "{S} happens when {c}, and as a result {e}.",
        _cause,
    ),
    Kind(
        "history",
        (
            (
                "{S} was first described by {n} in {y}.",
                "In {y}, {n} first described {s}.",
                "{n} discovered {s} in {y}.",
                "The history of {s} begins in {y} with the work of {n}.",
                "It was {n} who first studied {s}, in {y}.",
            ),
            (
                "Today it is used to {p}.",
                "It is now used to {p}.",
                "Nowadays {s} is used to {p}.",
                "Modern societies use {s} to {p}.",
                "Its main use today is to {p}.",
            ),
        ),
        "{S} was first described by {n} in {y} and is now used to {p}.",
        _discover,
    ),
    Kind(
        "contrast",
        (
            (
                "{S} and {t} are often confused.",
                "It is useful to compare {s} with {t}.",
                "{S} differs from {t} in one respect.",
                "{S} and {t} have much in common, but they are not the same.",
            ),
            (
                "{S} {v}.",
                "On the one hand, {s} {v}.",
                "In general, {s} {v}.",
                "As a rule, {s} {v}.",
            ),
            (
                "{T}, however, {w}.",
                "By contrast, {t} {w}.",
                "On the other hand, {t} {w}.",
                "Unlike it, {t} {w}.",
            ),
        ),
        "{S} {v}, whereas {t} {w}.",
        _contrast,
    ),
    Kind(
        "composition",
        (
            (
                "{S} consists of {a}, {b} and {c}.",
                "{S} is made of {a}, {b} and {c}.",
                "There are three parts to {s}: {a}, {b} and {c}.",
                "{S} has {a}, {b} and {c}.",
                "In {s} we find {a}, {b} and {c}.",
            ),
            (
                "Its main role is to {p}.",
                "Its purpose is to {p}.",
                "The main function of {s} is to {p}.",
                "Together they {p}.",
                "These parts work together to {p}.",
            ),
        ),
        "{S} consists of {a}, {b} and {c}, and its main role is to {p}.",
        _compose,
    ),
    Kind(
        "method",
        (
            (
                "{S} is a method to {p}.",
                "People use the method of {s} to {p}.",
                "{S} is a good way to {p}.",
                "To {p}, experts rely on {s}.",
            ),
            (
                "First, {a}. Then {b}. Finally, {c}.",
                "Begin as follows: {a}. After that, {b}. At the end, {c}.",
                "The first step is to {a}. The second is to {b}. The last is to {c}.",
            ),
        ),
        "{S} is a method to {p}: first {a}, then {b}, and finally {c}.",
        _proceed,
    ),
    Kind(
        "organism",
        (
            (
                "{S} is {d} that lives {h}.",
                "{S} is {d} found {h}.",
                "Living {h}, {s} is {d}.",
                "{S} is {d}. It lives {h}.",
            ),
            (
                "It feeds on {f}.",
                "Its diet consists of {f}.",
                "{S} mostly eats {f}.",
                "It survives by eating {f}.",
            ),
        ),
        "{S} is {d} that lives {h} and feeds on {f}.",
        _live,
        organism=True,
    ),
    Kind(
        "problem",
        (
            (
                "{S} is a threat to {o} because {c}.",
                "{S} threatens {o} because {c}.",
                "{S} is harmful to {o}, since {c}.",
                "Since {c}, {s} is a danger to {o}.",
            ),
            (
                "To prevent this, {g} should {p}.",
                "As a remedy, {g} can {p}.",
                "One solution is for {g} to {p}.",
                "The problem can be solved if {g} {p}.",
            ),
        ),
        "{S} threatens {o} because {c}, so {g} should {p}.",
        _threaten,
    ),
)
