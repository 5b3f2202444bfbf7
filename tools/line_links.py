"""Keep the links of a page on the lines of the classes and functions that they name.

``python tools/line_links.py docs/how-it-works/architecture.md`` rewrites every link of the form
```[`Retry.stream`](../../phi2sdk/client/policies.py#L42)``` so that its number is the line on which
``Retry.stream`` is defined in that file. A test fails while a page holds another number.
"""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

__all__ = ["definitions", "links", "main", "refreshed"]

_LINK = re.compile(r"\[`(?P<symbol>[\w.]+)`\]\((?P<file>[^)\s#]+\.py)#L(?P<line>\d+)\)")
_TITLED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def definitions(file: Path) -> dict[str, int]:
    """Return the line of each class, function, method and module-level name of a Python file."""
    found: dict[str, int] = {}
    _collect(ast.parse(file.read_text(encoding="utf-8")).body, "", found)
    return found


def _collect(body: list[ast.stmt], prefix: str, found: dict[str, int]) -> None:
    for node in body:
        if isinstance(node, _TITLED):
            found.setdefault(prefix + node.name, node.lineno)
            if isinstance(node, ast.ClassDef):
                _collect(node.body, f"{prefix}{node.name}.", found)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    found.setdefault(prefix + target.id, node.lineno)


def links(text: str) -> list[tuple[str, str, int]]:
    """Return symbol, file and line of every link to a line of a Python file."""
    return [(m["symbol"], m["file"], int(m["line"])) for m in _LINK.finditer(text)]


def refreshed(page: Path) -> str:
    """Return the text of a page with the current line in each link.

    Raises:
        ValueError: A link leads to a file that does not exist, or the file defines no such symbol.
    """

    def current(link: re.Match[str]) -> str:
        symbol, name = link["symbol"], link["file"]
        file = (page.parent / name).resolve()
        if not file.is_file():
            raise ValueError(
                f"{page}: the file of [`{symbol}`]({name}) does not exist. Correct the link"
            )
        if symbol not in definitions(file):
            raise ValueError(
                f"{page}: {name} does not define {symbol}. Correct the name or the file in the link"
            )
        return f"[`{symbol}`]({name}#L{definitions(file)[symbol]})"

    return _LINK.sub(current, page.read_text(encoding="utf-8"))


def main(pages: list[str]) -> None:
    """Rewrite the links of the pages."""
    if not pages:
        sys.exit(
            "no page was given. Run python tools/line_links.py docs/how-it-works/architecture.md"
        )
    for name in pages:
        page = Path(name)
        try:
            text = refreshed(page)
        except (OSError, ValueError) as error:
            sys.exit(str(error))
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
