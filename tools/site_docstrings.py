"""Convert Sphinx roles and ``::`` in docstrings to Markdown for the site."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc|obj):`(?P<shown>~?)(?P<name>[\w.]+)`")
_LITERAL = re.compile(r"^(?P<words>.*?)::[ \t]*$", re.MULTILINE)


class PlainDocstrings(griffe.Extension):
    """A griffe extension that converts each docstring to Markdown before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value, obj)


def as_markdown(text: str, owner: griffe.Object) -> str:
    """Return the text with links and code blocks in Markdown."""

    def linked(role: re.Match[str]) -> str:
        name = role["name"]
        shown = name.rpartition(".")[2] if role["shown"] or "." not in name else name
        target = _resolved(name, owner)
        return f'<autoref identifier="{target}" optional><code>{shown}</code></autoref>'

    text = _LITERAL.sub(lambda found: f"{found['words']}:" if found["words"] else "", text)
    return _ROLE.sub(linked, text)


def _resolved(name: str, owner: griffe.Object) -> str:
    """Return the full path of a name, resolved in the module or class of its owner."""
    if name.startswith("phi2sdk"):
        return name
    first, dot, rest = name.partition(".")
    try:
        return f"{owner.resolve(first)}{dot}{rest}"
    except griffe.NameResolutionError:
        return name
