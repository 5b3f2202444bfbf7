"""The same text in other templates: what a target may have made of a prompt."""

from __future__ import annotations

from phi2sdk.errors import InvalidRequest
from phi2sdk.prompts import Format, render

__all__ = ["other_templates"]

_FRAMES: dict[str, tuple[str, str]] = {
    "instruct": ("Instruct: ", "\nOutput:"),
    "chat": ("Alice: ", "\nBob:"),
}
_NAMED: tuple[Format, ...] = ("instruct", "qa", "chat")
"""``raw`` and ``code`` render as ``qa`` does."""


def other_templates(prompt: str, format: str) -> dict[str, str]:
    """The prompt's own text in every other template, by the candidate's name.

    Args:
        prompt: As it was sent.
        format: What rendered it.
    """
    before, after = _FRAMES.get(format, ("", ""))
    text = prompt.removeprefix(before).removesuffix(after)
    found = {}
    for name in _NAMED:
        try:
            other = render(text, name, allow_control_tokens=True).text
        except InvalidRequest:  # no text is left without its template
            continue
        if other != prompt:
            found[f"template={name}"] = other
    return found
