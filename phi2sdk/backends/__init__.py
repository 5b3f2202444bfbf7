"""The backends, by name.

A package of your own adds one through the entry point group ``phi2sdk.backends``::

    [project.entry-points."phi2sdk.backends"]
    mine = "my_package:MyBackend"

A class is imported when its first target is built; a dependency that is missing then becomes a
:class:`~phi2sdk.errors.ConfigurationError` with the command that installs it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from phi2sdk.backends.settings import refuse_wrong_kinds, without_aliases
from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import Secret

if TYPE_CHECKING:
    from phi2sdk.backends.base import Backend

__all__ = ["build", "find", "is_secret", "known"]

_OWN: Mapping[str, tuple[str, str | None]] = {
    "local": ("phi2sdk.backends.local_gpu:LocalBackend", "local"),
    "azure": ("phi2sdk.backends.azure:AzureBackend", None),
    "clarifai": ("phi2sdk.backends.clarifai:ClarifaiBackend", "clarifai"),
    "hf": ("phi2sdk.backends.hf:HFBackend", None),
    "openai": ("phi2sdk.backends.openai:OpenAIBackend", None),
}
"""Name -> (class, the extra that installs what its module imports)."""


def known() -> tuple[str, ...]:
    """Return the names of all backends; those of this package come first."""
    others = sorted(point.name for point in entry_points(group="phi2sdk.backends"))
    return tuple(dict.fromkeys((*_OWN, *others)))


def find(name: str) -> type[Backend]:
    """Return the class of a backend.

    Raises:
        ConfigurationError: There is no such backend, or a dependency of it is not installed.
    """
    extra: str | None = None
    if name in _OWN:
        path, extra = _OWN[name]
    else:
        points = [p for p in entry_points(group="phi2sdk.backends") if p.name == name]
        if not points:
            raise ConfigurationError(
                f"there is no backend {name!r}. Use one of {', '.join(known())}"
            )
        path = points[0].value
    module, _, attribute = path.partition(":")
    try:
        found: type[Backend] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise missing_dependency(name, error, extra) from error
    return found


def build(
    name: str, *, target: str, settings: Mapping[str, Any], environ: Mapping[str, str]
) -> Backend:
    """Build a backend from its settings and the environment.

    Args:
        name: The backend's name.
        target: The target's name, for receipts and reports.
        settings: Keyword arguments of its constructor; a key may be a plain string.
        environ: Source of missing settings, under the names in the backend's ``environment``.

    Raises:
        ConfigurationError: A setting is unknown, missing or wrong, or a dependency is missing.
    """
    cls = find(name)
    settings = without_aliases(cls, settings)
    parameters = inspect.signature(cls).parameters
    accepted = [p for p in parameters if p != "target" and p not in cls.aliases]
    if unknown := sorted(set(settings) - set(accepted)):
        raise ConfigurationError(
            f"target {target!r}: the backend {name} has no setting {', '.join(unknown)}. "
            f"Use one of {', '.join(sorted(accepted))}"
        )
    given: dict[str, Any] = {
        setting: Secret(value) if isinstance(value, str) and is_secret(cls, setting) else value
        for setting, value in settings.items()
    }
    for setting, variable in cls.environment.items():
        value = environ.get(variable, "").strip()
        together = cls.together.get(setting)
        if together is not None and settings.get(together) is not None:
            continue
        if setting in accepted and given.get(setting) is None and value:
            given[setting] = Secret(value) if is_secret(cls, setting) else value
    for setting in cls.required:
        if given.get(setting) is None:
            named = cls.environment.get(setting)
            hint = f"set the environment variable {named}, or " if named else ""
            raise ConfigurationError(
                f"target {target!r}: the backend {name} needs {setting}: {hint}give it in "
                f"phi2.toml under [targets.{target}] or as Phi2Client({name!r}, {setting}=...)"
            )
    refuse_wrong_kinds(cls, given, target=target, backend=name)
    try:
        return cls(target=target, **given)
    except ImportError as error:
        raise missing_dependency(name, error, cls.extra) from error


def missing_dependency(name: str, error: ImportError, extra: str | None) -> ConfigurationError:
    """Return the error for a missing dependency, with the command that installs it."""
    what = f"phi2sdk[{extra}]" if extra else (error.name or "its dependencies")
    return ConfigurationError(
        f"the backend {name} needs {error.name or 'a package'}, which is not installed. Install it "
        f"with: python -m pip install '{what}'"
    )


def is_secret(cls: type[Backend], setting: str) -> bool:
    """Return whether a setting is a secret, which the constructor annotates as ``Secret``."""
    parameter = inspect.signature(cls).parameters.get(setting)
    return parameter is not None and "Secret" in str(parameter.annotation)
