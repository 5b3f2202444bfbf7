"""Makes text of other software safe for the medium where it is shown.

Model output, messages of providers, names and settings in the folder of a run, and the contents of
files are not trusted. Each medium has one function, which all text for this medium passes through:
:func:`for_terminal` for terminals and other plain text, :func:`untrusted` for a part of a message,
:func:`for_markdown` and :func:`for_html` for documents.
"""

from __future__ import annotations

import re
from html import escape as _escape_html

_KEEP = {"\n", "\t"}
_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
_ENTITY = frozenset("<>&|`\\@")
_ALWAYS = frozenset("*[]")
_IN_PAIRS = frozenset("~$")
_LINK = re.compile(r"(?<=www)\.|:(?=//)", re.IGNORECASE)
_BLOCK = re.compile(r"[-+#=](?!\d)|\d+(?=[.)](\s|$))")


def for_terminal(text: str) -> str:
    """Return ``text`` with control, escape and bidirectional characters as ``\\xNN``.

    >>> for_terminal("red \\x1b[31m")
    'red \\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _KEEP else c.encode("unicode_escape").decode() for c in text
    )


def encodable(text: str) -> str:
    """Return ``text`` with each half of a surrogate pair, which UTF-8 lacks, as ``\\udXXX``.

    Names of files and environment variables have such halves where their bytes are not UTF-8.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def untrusted(text: str, limit: int = 300) -> str:
    """Return ``text`` on one line: no control characters, and no more than ``limit`` characters."""
    if len(text) <= limit and text.isprintable() and "  " not in text and text == text.strip():
        return text
    clean = "".join(c if c.isprintable() else " " for c in text[: limit * 4])
    line = " ".join(clean.split())
    return line if len(line) <= limit else line[:limit] + "..."


def for_csv(text: str) -> str:
    """Return ``text`` such that a spreadsheet shows it, and does not execute it as a formula.

    A cell that begins with ``=``, ``+``, ``-``, ``@`` or their full-width forms, also after white
    space, begins with an apostrophe instead. Control characters are shown as ``\\xNN``.

    >>> for_csv("=HYPERLINK(1)")
    "'=HYPERLINK(1)"
    """
    clean = encodable(for_terminal(text))
    return f"'{clean}" if clean.lstrip()[:1] in _FORMULA else clean


def for_html(text: str) -> str:
    """Return ``text`` for HTML, where a browser shows it and interprets no markup in it."""
    return _escape_html(for_terminal(text))


def for_markdown(text: str, *, cell: bool = False) -> str:
    """Return ``text`` on one line for Markdown and HTML, which interpret no markup in it.

    What would not act where it stands is left as it is. ``cell``: it is a table's, where no block
    can begin.
    """
    flat = " ".join(for_terminal(text).split())
    paired = {c for c in _IN_PAIRS if flat.count(c) > 1}
    links = {match.start() for match in _LINK.finditer(flat)}
    said = []
    for at, c in enumerate(flat):
        if c in _ENTITY or at in links:
            said.append(f"&#{ord(c)};")
        elif c in _ALWAYS or c in paired or (c == "_" and not _inside_a_word(flat, at)):
            said.append(f"\\{c}")
        else:
            said.append(c)
    if not cell and (begins := _BLOCK.match(flat)):
        said.insert(0 if begins[0][0] in "-+#=" else begins.end(), "\\")
    return "".join(said)


def _inside_a_word(text: str, at: int) -> bool:
    return 0 < at < len(text) - 1 and text[at - 1].isalnum() and text[at + 1].isalnum()
