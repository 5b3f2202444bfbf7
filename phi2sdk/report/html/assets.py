"""The page's own files, and the policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

__all__ = ["LIBRARIES", "SCRIPTS", "STYLES", "content_security_policy", "libraries", "read", "own"]

LIBRARIES = ("vendor/d3.min.js", "vendor/plot.umd.min.js")
SCRIPTS = (
    "page.js",
    "tables.js",
    "charts.js",
    "latency.js",
    "choice.js",
    "agreement.js",
    "prompts.js",
    "start.js",
)
"""In this order: each adds to what those before it made."""
STYLES = ("page.css", "parts.css", "prompts.css")

PLOT_STYLE = """:where(.plot) {
  --plot-background: white;
  display: block;
  height: auto;
  height: intrinsic;
  max-width: 100%;
}
:where(.plot text),
:where(.plot tspan) {
  white-space: pre;
}"""
"""The style sheet that Observable Plot puts into each chart of class ``plot``."""


@cache
def read(name: str) -> str:
    """A file of the page."""
    return files("phi2sdk.report.html").joinpath("assets", name).read_text(encoding="utf-8")


def own(names: Iterable[str]) -> str:
    """Several of them, one after the other."""
    return "\n".join(read(name) for name in names)


def libraries() -> list[str]:
    """The drawing libraries, each a script."""
    return [read(name) for name in LIBRARIES]


def content_security_policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """No network, no frames, no forms; scripts and styles only of these very texts."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hashes(scripts)}",
            f"style-src {_hashes(styles)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hashes(texts: Iterable[str]) -> str:
    """As Content Security Policy level 3 names inline text."""
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
