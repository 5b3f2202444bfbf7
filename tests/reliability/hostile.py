"""Texts that try to be more than text, and how to see whether one succeeded."""

from __future__ import annotations

from phi2sdk.errors import Phi2Error

HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "closing": "</script></style></textarea></title>--><svg/onload=alert(1)>",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "json": '"}];alert(1);[{"x":"\\u2028',
    "ansi": "\x1b[2J\x1b]0;title\x07\x1b[31mred\x9b31m",
    "osc link": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "bidi": "safe\u202egnp.exe\u2066\u2069\u200f\u061c",
    "markdown": "[click](javascript:alert(1)) ![x](http://evil.example/p.png) | a | b |",
    "block": "\n\n# heading\n\n```\ncode\n```\n> quote\n\n- [ ] task\n<details open>",
    "rich": "[bold red]not bold[/] [link=http://evil.example]x[/link]",
    "formula": '=HYPERLINK("http://evil.example","x")',
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "xml": "]]><failure message='x'/><!ENTITY a SYSTEM 'file:///etc/passwd'>&a;",
    "nul": "a\x00b\x08\x7f\x85\u2028\u2029",
    "surrogate": "half \ud800 pair",
    "tag": "a\U000e0041\ufeffb",
    "carriage": "good\rbad\x0b\x0c",
}
"""What is hostile about it -> the text."""

SAYABLE = tuple(kind for kind in HOSTILE if kind != "surrogate")
"""Those that can come over a wire: half a pair is no character in UTF-8."""


def steers(text: str) -> list[str]:
    """Characters that a terminal obeys or that reorder what is seen."""
    return [c for c in text if c not in "\n\t" and not c.isprintable()]


def hold_harmless(error: Phi2Error, names: str = "") -> None:
    """An error's words steer no terminal, and name what they should."""
    assert steers(str(error)) == []
    assert names in str(error)
