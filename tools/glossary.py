"""Print docs/reference/glossary.md from the terms of phi2sdk/report/glossary.py."""

from __future__ import annotations

from textwrap import wrap

from phi2sdk.report.glossary import alphabetical
from phi2sdk.text import for_markdown

__all__ = ["document", "main"]

HEAD = """\
# Glossary

Look up what a term of the reports, of the commands or of this documentation means. The column
headers of `report.html` link to the same definitions.
"""


def document() -> str:
    """Return the page."""
    parts = [HEAD]
    for _, term in alphabetical():
        formula = f"\nFormula: `{term.formula}`\n" if term.formula else ""
        said = " ".join(filter(None, (term.meaning, term.more)))
        said = "\n".join(wrap(for_markdown(said), 100))
        parts.append(f"## {for_markdown(term.name)}\n\n{said}\n{formula}")
    return "\n".join(parts)


def main() -> None:
    """Print the page."""
    print(document(), end="")


if __name__ == "__main__":
    main()
