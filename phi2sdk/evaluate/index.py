"""Finds the definitions of tasks of the harness (lm_eval) without reading all of them.

The harness has more than 14,000 definitions, and parsing them takes seconds. The lines with the
names are found in a tenth of this time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_NAME = re.compile(rb"^(?:task|group):[ \t]*['\"]?([^\s'\"#]+)['\"]?[ \t]*$", re.MULTILINE)


def entries(names: Iterable[str]) -> dict[str, Any] | None:
    """Return the entries of the harness's index for tasks and groups, with the members of groups.

    Args:
        names: Names of tasks and groups.

    Returns:
        The entries by name; ``None`` if only the whole index has a name or a member, such as a tag.
    """
    import lm_eval.tasks
    from lm_eval.tasks._index import TaskIndex
    from lm_eval.tasks._yaml_loader import load_yaml

    files = _files(Path(lm_eval.tasks.__file__).parent)
    found: dict[str, Any] = {}
    left = list(names)
    while left:
        name = left.pop()
        if name in found:
            continue
        if name not in files:
            return None
        config = load_yaml(files[name], resolve_func=False)
        TaskIndex.process_cfg(config, files[name], read := dict[str, Any]())
        if name not in read:
            return None
        found[name] = read[name]
        members = list(_members(config))
        if None in members:
            return None
        left += [member for member in members if member is not None]
    return found


def _files(folder: Path) -> dict[str, Path]:
    """Return the file that defines each name: the first one, as in the harness."""
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*.yaml"), key=Path.as_posix):
        for name in _NAME.findall(file.read_bytes()):
            found.setdefault(name.decode(errors="replace"), file)
    return found


def _members(config: Mapping[str, Any]) -> Iterator[str | None]:
    """Yield the names of the members of a group; ``None`` for a member without a name."""
    tasks = config.get("task")
    for one in tasks if isinstance(tasks, list) else ():
        name = one if isinstance(one, str) else one.get("task", one.get("group"))
        yield name if isinstance(name, str) and "::" not in name else None
