"""Hooks of mkdocs for the site of ``docs/``.

- The changelog, CONTRIBUTING and SECURITY are added to the site.
- Links are written for readers of the repository. The hooks change them to links between pages of
  the site. A link to a file that is not on the site becomes plain text.
- ``<!-- commands -->`` is replaced by the reference of the command line, made from its ``--help``.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
SCHEMAS = {
    f"phi2sdk/report/{name}.schema.json": f"reference/{name}.schema.json"
    for name in ("report", "evaluation")
}
COMMANDS = "<!-- commands -->"

_LINK = re.compile(r"(?<!!)\[(?P<words>[^\]]+)\]\((?P<to>(?!https?://|mailto:|#)[^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files from outside of ``docs/``."""
    for name in PROJECT:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, f"contributing/{name}", content=text))
    for name, on_site in SCHEMAS.items():
        schema = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, on_site, content=schema))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change the links to pages of the site, and insert the reference of the commands."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, _commands())
    source = page.file.src_uri
    return _LINK.sub(lambda link: _pointed(link, source, files), markdown)


def _pointed(link: re.Match[str], source: str, files: Files) -> str:
    target, hash_sign, anchor = link["to"].partition("#")
    place = _in_repository(source)
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
    on_site = _on_site(wanted)
    if files.get_file_from_path(on_site) is not None:
        relative = posixpath.relpath(on_site, posixpath.dirname(source) or ".")
        return f"[{link['words']}]({relative}{hash_sign}{anchor})"
    if (ROOT / wanted).exists():
        return link["words"]
    return link[0]  # a broken link, which mkdocs reports


def _in_repository(on_site: str) -> str:
    name = on_site.removeprefix("contributing/")
    return name if name in PROJECT else f"docs/{on_site}"


def _on_site(in_repository: str) -> str:
    if in_repository in PROJECT:
        return f"contributing/{in_repository}"
    return SCHEMAS.get(in_repository, in_repository.removeprefix("docs/"))


def _commands() -> str:
    """Return typer's reference of the commands, without its title."""
    ran = subprocess.run(
        [sys.executable, "-m", "typer", "phi2sdk.cli.app", "utils", "docs", "--name", "phi2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.partition("\n")[2]
