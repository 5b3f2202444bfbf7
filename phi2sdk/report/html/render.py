"""Render a template as a page that loads nothing: scripts, styles and data are inside of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from phi2sdk.report.glossary import anchor
from phi2sdk.report.html import assets
from phi2sdk.text import for_terminal


def rendered(template: str, scripts: Sequence[str], **context: Any) -> str:
    """Return a page.

    Args:
        template: The name of its template.
        scripts: The names of its scripts, which run after the libraries.
        context: The values of the template.
    """
    texts = [*assets.libraries(), assets.own(scripts)]
    style = assets.own(assets.STYLES)
    return (
        _environment()
        .get_template(template)
        .render(
            policy=assets.content_security_policy(texts, [style, assets.PLOT_STYLE]),
            scripts=[Markup(text) for text in texts],  # noqa: S704 - files of this package
            style=Markup(style),  # noqa: S704
            **context,
        )
    )


@cache
def _environment() -> Environment:
    """Return the template environment, which escapes everything and makes text printable."""
    environment = Environment(
        loader=PackageLoader("phi2sdk.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    environment.globals["anchor"] = anchor
    environment.policies["json.dumps_kwargs"] = {
        "ensure_ascii": False,
        "separators": (",", ":"),
        "allow_nan": False,
    }
    return environment


def _harmless(value: object) -> object:
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return for_terminal(value)
    return value
