"""Does a summary keep to its source? Numbers and names in it that the source does not have.

A rule of thumb without a model: it finds the date that was made up, not the sentence that was
turned round. A number is digits, or a word for one up to twenty; a name is a capitalised word that
does not begin a sentence, or a word with digits or capitals inside. Scripts without capitals have
numbers only.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["details", "unsupported"]

_NUMBER = re.compile(r"(?<![^\W_])\d+(?:[.,]\d+)*(?![^\W_])")
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_BEGINS = re.compile(r"(?:[.!?:;\n]|[\"“”(]|- )\s*$")
_COUNTING = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
_NUMBER_OF = {word: str(number) for number, word in enumerate(_COUNTING.split(" "))}
_ALWAYS = frozenset({"I", "I'm", "I've", "I'll"})


@lru_cache(maxsize=4096)
def details(text: str) -> frozenset[str]:
    """The numbers and names of a text."""
    found = {_plain_number(match[0]) for match in _NUMBER.finditer(text)}
    for match in _WORD.finditer(text):
        word = match[0]
        at = match.start()
        begins = at == 0 or _BEGINS.search(text, max(0, at - 4), at) is not None
        if word not in _ALWAYS and not word.isdigit() and _is_name(word, begins=begins):
            found.add(_plain_name(word))
    return frozenset(found)


def unsupported(summary: str, source: str) -> tuple[int, int]:
    """``(missing, all)``: of a summary's numbers and names, those that the source lacks."""
    found = details(summary)
    return len(found - _words(source)), len(found)


@lru_cache(maxsize=4096)
def _words(source: str) -> frozenset[str]:
    """All that a detail may be supported by."""
    known = {_plain_number(match[0]) for match in _NUMBER.finditer(source)}
    for match in _WORD.finditer(source):
        known.add(_plain_name(match[0]))
        known.update(_plain_name(part) for part in re.split(r"[-'’]", match[0]))
    return frozenset(known | {_NUMBER_OF[word] for word in known & _NUMBER_OF.keys()})


def _is_name(word: str, *, begins: bool) -> bool:
    inside = any(c.isupper() or c.isdigit() for c in word[1:])
    return inside or (word[0].isupper() and not begins)


def _plain_number(text: str) -> str:
    """``1,000`` as ``1000``; ``3.50`` and ``3,5`` stay what they are but for the comma."""
    return re.sub(r",(?=\d{3}(?!\d))", "", text)


def _plain_name(word: str) -> str:
    return re.sub(r"['’]s$", "", word).casefold()
