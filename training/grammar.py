"""Generate textbook paragraphs and their one-sentence summaries.

A paragraph of a `Kind` states the facts of that kind, each in one of several wordings. The summary
repeats the facts word for word, so the paragraph determines it. Between the facts there are remarks
without facts. A free paragraph has no template, and its summary is its first sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from . import prose
from . import vocabulary as v
from .kinds import KINDS, Slots
from .names import capitalized, plural_subject, subject
from .phrases import action, event, stuff


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph, its one-sentence summary, and the slots from which both were rendered."""

    kind: str
    subject: str
    text: str
    reference: str
    slots: Mapping[str, str]


REMARKS = (
    "Many textbooks discuss {s} in an early chapter.",
    "Students often find this idea surprising.",
    "The details of {s} are still debated.",
    "A famous example can be found {place}.",
    "This was not always understood.",
    "The word itself has a long history.",
    "Research on {s} continues today.",
    "Few topics have been studied so closely.",
    "For example, one can observe {s} {place}.",
    "It is easy to see this {place}.",
    "There are also {adjective} forms of {s}.",
    "Some {group} doubt this.",
    "Most {group} agree on this point.",
    "{group} have known this for a long time.",
    "In the past, people thought that {event}.",
    "A common mistake is to believe that {event}.",
    "Not every case of {s} is {adjective}.",
    "The topic is both {adjective} and {adjective2}.",
    "To understand {s}, it is helpful to think of {stuff}.",
    "We will return to {stuff} in the next chapter.",
    "Nature offers many examples of {s}.",
    "This is true even {place}.",
    "Other books treat {stuff} in more detail.",
    "Without {s}, the world would look very different.",
    "For instance, {group} {action}.",
    "Many {group} {action}.",
    "Elsewhere, {event}, and {event2}.",
    "Sometimes {event}.",
    "As one author puts it, {event}.",
    "Every day, {group} and {group2} {action}.",
)
# Remarks that begin with the subject, so that it occurs with a capital at least once.
OPENING_REMARKS = (
    "{S} appears in many textbooks.",
    "{S} still puzzles some {group}.",
    "{S} has a long history.",
    "{S} deserves a chapter of its own.",
)


def render(template: str, slots: Slots) -> str:
    """Fill in ``template``, with a capital at the beginning of each sentence."""
    filled = template.format_map(
        slots | {key.upper(): capitalized(slots[key]) for key in ("s", "t") if key in slots}
    )
    return re.sub(r"((?:^|[.?] )[a-z])", lambda m: m[1].upper(), filled)


def remark(rng: Random, s: str, wordings: tuple[str, ...] = REMARKS) -> str:
    """Return a sentence about ``s`` that is not part of a summary."""
    group = rng.choice(v.GROUPS)
    return render(
        rng.choice(wordings),
        {
            "s": s,
            "group": group,
            "place": rng.choice(v.PLACES),
            "adjective": rng.choice(v.ADJECTIVES),
            "adjective2": rng.choice(v.ADJECTIVES),
            "group2": rng.choice(v.GROUPS),
            "action": action(rng),
            "event": event(rng),
            "event2": event(rng),
            "stuff": stuff(rng),
        },
    )


def paragraph(rng: Random, *, held_out: bool = False, about: str | None = None) -> Paragraph:
    """Draw a templated paragraph about a held-out subject or a training subject.

    ``about`` gives the subject instead. Such a paragraph is never about a living thing.
    """
    kind = rng.choice([k for k in KINDS if about is None or not k.organism])
    slots = kind.fill(rng)
    slots["s"] = about or subject(rng, held_out=held_out, organism=kind.organism)
    slots["t"] = slots["s"]
    while slots["t"] == slots["s"]:
        slots["t"] = subject(rng, held_out=held_out)
    sentences: list[str] = []
    if rng.random() < 0.15:
        sentences.append(remark(rng, slots["s"]))
    for wordings in kind.facts:
        sentences.append(render(rng.choice(wordings), slots))
        sentences += [remark(rng, slots["s"]) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
    if len(kind.facts) == 1:
        sentences.append(remark(rng, slots["s"]))
    if capitalized(slots["s"]) not in " ".join(sentences):
        sentences.append(remark(rng, slots["s"], OPENING_REMARKS))
    return Paragraph(
        kind.name, slots["s"], " ".join(sentences), render(kind.reference, slots), slots
    )


def free_paragraph(rng: Random, *, held_out: bool = False) -> Paragraph:
    """Draw a paragraph of random sentences without a template."""
    plural = rng.random() < 0.3
    s = plural_subject(rng, held_out=held_out) if plural else subject(rng, held_out=held_out)
    lead = prose.leading_sentence(rng, s, plural=plural)
    rest = [prose.further_sentence(rng, s, plural=plural) for _ in range(rng.randint(1, 4))]
    return Paragraph("free", s, " ".join([lead, *rest]), lead, {"s": s})
