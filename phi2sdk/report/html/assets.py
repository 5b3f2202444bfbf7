"""The scripts and styles of the page, and its Content Security Policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

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
"""The scripts in the order in which the page runs them."""
EVALUATION_SCRIPTS = ("page.js", "tables.js", "charts.js", "evaluation.js")
"""The scripts of the page of an evaluation."""
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
"""The style sheet that Observable Plot adds to each chart of class ``plot``."""


@cache
def read(name: str) -> str:
    """Return the text of a file of the page."""
    return files("phi2sdk.report.html").joinpath("assets", name).read_text(encoding="utf-8")


def own(names: Iterable[str]) -> str:
    """Return several files as one text."""
    return "\n".join(read(name) for name in names)


def libraries() -> list[str]:
    """Return the text of each library that draws charts."""
    return [read(name) for name in LIBRARIES]


def content_security_policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """Return a policy that forbids network, frames and forms and allows only these texts."""
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
    """Return the hashes by which Content Security Policy level 3 allows inline text."""
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
