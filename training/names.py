"""Subjects: real nouns and invented names, split into a training part and a held-out part.

The name alone determines its part (`is_held_out`), so training and evaluation need no common list.
"""

from __future__ import annotations

import zlib
from random import Random

from .vocabulary import CONCEPTS, ORGANISMS, PLURALS


def _pieces(line: str) -> tuple[str, ...]:
    return tuple(line.split())


_ONSETS = _pieces(
    "b br c ch cl d dr f fl g gr h j k kr l m n p pl qu r s sh sk st t th tr v w x y z"
)
_VOWELS = _pieces("a e i o u ai ea ia io ou é ö ü á")
_VOWEL_WEIGHTS = [20, 20, 16, 18, 10, 4, 4, 4, 4, 3, 1, 1, 1, 1]
_CODAS = ["", "", "", "n", "r", "l", "s", "m", "t", "nd", "rk", "x", "ck"]
_ENDINGS = [
    "",
    "",
    "ia",
    "ism",
    "ium",
    "osis",
    "ics",
    "ation",
    "ine",
    "or",
    "ite",
    "ogy",
    "ance",
    "ment",
]
_MODIFIERS = [
    "effect",
    "principle",
    "cycle",
    "method",
    "process",
    "system",
    "law",
    "reaction",
    "engine",
    "theory",
]


def is_held_out(subject: str) -> bool:
    """Return whether ``subject`` is reserved for evaluation, as about one in six is.

    The CRC-32 of the name determines the part.
    """
    return zlib.crc32(subject.casefold().encode()) % 6 == 0


def syllable(rng: Random) -> str:
    """Return a pronounceable syllable of an invented word."""
    return rng.choice(_ONSETS) + rng.choices(_VOWELS, _VOWEL_WEIGHTS)[0] + rng.choice(_CODAS)


def word(rng: Random) -> str:
    """Return an invented lower-case word of one to four syllables, with or without a suffix."""
    count = rng.choices((1, 2, 3, 4), (2, 5, 3, 1))[0]
    if rng.random() < 0.06:  # repeated syllables are the hardest to copy
        stem = syllable(rng) * rng.randint(2, 3)
    else:
        stem = "".join(syllable(rng) for _ in range(count))
    invented = stem + rng.choice(_ENDINGS)
    return invented if len(invented) > 3 else word(rng)


def _invented(rng: Random) -> str:
    shape = rng.random()
    if shape < 0.12:
        return "".join(rng.choice("ABCDEFGHIKLMNOPRSTVXZ") for _ in range(rng.randint(2, 5)))
    if shape < 0.20:
        return f"{word(rng).capitalize()}-{rng.randint(2, 999)}"
    if shape < 0.28:
        return f"{word(rng).capitalize()}-{word(rng).capitalize()}"
    if shape < 0.42:
        return f"the {word(rng).capitalize()} {rng.choice(_MODIFIERS)}"
    if shape < 0.62:
        return word(rng)
    return word(rng).capitalize()


def subject(rng: Random, *, held_out: bool, organism: bool = False) -> str:
    """Return a subject for the middle of a sentence ('the heart', 'erosion', 'Velmora', 'LKT').

    One third of the subjects are real nouns. The others are invented, so that the model can only
    copy them.
    """
    while True:
        if rng.random() < 1 / 3:
            candidate = rng.choice(ORGANISMS if organism else CONCEPTS)
        elif organism:
            candidate = f"the {word(rng)}"
        else:
            candidate = _invented(rng)
        if is_held_out(candidate) == held_out:
            return candidate


def plural_subject(rng: Random, *, held_out: bool) -> str:
    """Return a real noun in the plural."""
    return rng.choice([p for p in PLURALS if is_held_out(p) == held_out])


def capitalized(phrase: str) -> str:
    """Return ``phrase`` with a capital, for the beginning of a sentence."""
    return phrase[:1].upper() + phrase[1:]
