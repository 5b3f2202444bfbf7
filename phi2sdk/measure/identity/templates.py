"""The same text in other templates: what a target may have made of a prompt."""

from __future__ import annotations

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
    if not text.strip():  # nothing is left without its template
        return {}
    others = {n: render(text, n, allow_control_tokens=True).text for n in _NAMED}
    return {f"template={name}": other for name, other in others.items() if other != prompt}
