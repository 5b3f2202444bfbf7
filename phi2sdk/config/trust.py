"""Decide which secrets a configuration file may send, and to which hosts.

Another person's configuration file chooses hosts and environment variables. A target of a file
sends a secret only

- to the own hosts of the provider (:attr:`~phi2sdk.backends.base.Backend.own_hosts`) or to the host
  that the environment names, if the secret is that of the backend
  (:attr:`~phi2sdk.backends.base.Backend.environment`) in its own setting;
- to loopback, if its value is the key of the emulators, which is not a secret;
- to a host for which the user has confirmed the file, host and variable (``phi2 trust FILE``).
"""

from __future__ import annotations

import inspect
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from phi2sdk import backends
from phi2sdk.backends.base import Backend
from phi2sdk.backends.settings import without_aliases
from phi2sdk.config.environment import FromEnvironment
from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import EMULATOR_KEY, Secret
from phi2sdk.text import for_terminal
from phi2sdk.transport.endpoint import is_loopback, origin

__all__ = ["Sending", "check", "confirm", "confirmed", "revoke", "sendings", "store"]

Key = tuple[str, str, str]
"""File, host and variable of a confirmation."""


class OfFile(Protocol):
    """The attributes of a target that decide what it sends."""

    @property
    def name(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def file(self) -> str | Path | None: ...


@dataclass(frozen=True, slots=True)
class Sending:
    """A secret that a target of a file sends to a host, and that needs a confirmation.

    Attributes:
        target: The name of the target.
        file: The configuration file, as a resolved path.
        host: Scheme, host and port; if they are unknown, the settings that decide on them.
        variable: The environment variable, or a description of another secret.
        present: Whether the secret has a value now.
    """

    target: str
    file: str
    host: str
    variable: str
    present: bool = True

    @property
    def key(self) -> Key:
        """The file, host and variable that are confirmed."""
        return self.file, self.host, self.variable


@dataclass(frozen=True, slots=True)
class _Secret:
    """A secret that a target would send, and whether it belongs to the backend."""

    variable: str
    own: bool
    value: str = field(repr=False)


def check(target: OfFile, environ: Mapping[str, str], program: Mapping[str, Any]) -> None:
    """Refuse to send a secret that the user has not confirmed.

    Args:
        target: A target of a file.
        environ: The environment.
        program: Settings of the program, which replace those of the file.

    Raises:
        ConfigurationError: The target would send an unconfirmed secret.
    """
    needed = [one for one in sendings(target, environ, program) if one.present]
    known = confirmed() if needed else set()
    missing = [one for one in needed if one.key not in known]
    if not missing:
        return
    host = for_terminal(missing[0].host)
    what = " and ".join(for_terminal(one.variable) for one in missing)
    if {one.key for one in missing} <= {one.key for one in sendings(target, environ)}:
        command = f"phi2 trust {shlex.quote(str(target.file))}"
        remedy = f"Run {command} to see what the file sends, and to confirm it."
    else:  # the program sets the host or the key, so the file alone does not show what is sent
        address = backends.find(target.backend).address or "the address"
        remedy = f"If this is the right host, give both {address} and the key in the program."
    raise ConfigurationError(
        f"{target.file}: the target {target.name} would send {what} to {host}. "
        f"Nothing was sent, because you have not confirmed this for the file. {remedy}"
    )


def sendings(
    target: OfFile, environ: Mapping[str, str], program: Mapping[str, Any] | None = None
) -> list[Sending]:
    """Return the secrets of a target that need a confirmation, confirmed or not.

    Raises:
        ConfigurationError: The backend does not exist, or a dependency of it is missing.
    """
    cls, program = backends.find(target.backend), program or {}
    host, trusted = _host(target, cls, environ, program)
    loopback = is_loopback(urlsplit(host).hostname or "") if origin(host) else False
    file = str(Path(target.file or "").resolve())
    return [
        Sending(target.name, file, host, one.variable, bool(one.value))
        for one in _secrets(target, cls, environ, program)
        if not (one.own and trusted) and not (loopback and one.value == EMULATOR_KEY)
    ]


def _host(
    target: OfFile, cls: type[Backend], environ: Mapping[str, str], program: Mapping[str, Any]
) -> tuple[str, bool]:
    """Return the host, and whether it may receive the backend's secrets without confirmation."""
    variable = cls.environment.get(cls.address or "", "")
    value = environ.get(variable, "").strip()
    named = origin(cls.calls({cls.address or "": value})) if value else None
    address = cls.calls({**target.settings, **program})
    if isinstance(address, FromEnvironment) and address.variable == variable:
        address = None
    elif isinstance(address, FromEnvironment):
        value = environ.get(address.variable, "").strip()
        address = value if origin(value) else f"the address in {address.variable}"
    elif address is None and cls.address is None:
        address = _decisive(target, program)
    if address is None:  # the file does not choose it
        default = inspect.signature(cls).parameters.get(cls.address or "")
        usual = origin(default.default) if default else None
        host = named or usual or f"the hosts that the backend {target.backend} calls"
        return host, named is None or _private(named)
    found = origin(address)
    if found is None:
        return str(address).encode("unicode_escape").decode(), False
    chosen = cls.calls(program) == cls.calls({**target.settings, **program})
    return found, chosen or _is_own(cls, found) or (found == named and _private(found))


def _decisive(target: OfFile, program: Mapping[str, Any]) -> str | None:
    """Return the settings that may decide on the host of a backend without an address setting."""
    plain = {
        name: value
        for name, value in sorted(target.settings.items())
        if name not in program and not isinstance(value, FromEnvironment)
    }
    if not plain:
        return None
    said = ", ".join(f"{name}={value!r}" for name, value in plain.items())
    return f"the hosts that the backend {target.backend} calls with {said}"


def _private(url: str) -> bool:
    """Return whether requests are encrypted or stay on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def _is_own(cls: type[Backend], url: str) -> bool:
    scheme, _, host = url.partition("://")
    return scheme == "https" and any(
        host.endswith(own[1:]) if own.startswith("*.") else host == own for own in cls.own_hosts
    )


def _secrets(
    target: OfFile, cls: type[Backend], environ: Mapping[str, str], program: Mapping[str, Any]
) -> Iterator[_Secret]:
    program = without_aliases(cls, program)
    settings = {**without_aliases(cls, target.settings), **program}
    for setting, value in settings.items():
        own, secret = cls.environment.get(setting), backends.is_secret(cls, setting)
        if isinstance(value, FromEnvironment):
            held = environ.get(value.variable, "").strip()
            harmless = value.variable == own and not secret
            if harmless or (
                setting == cls.address and origin(held)
            ):  # a URL is not a secret from its own host
                continue
            yield _Secret(value.variable, value.variable == own, held)
        elif secret and value and (setting in program or isinstance(value, Secret)):
            held = value.reveal() if isinstance(value, Secret) else str(value)
            yield _Secret(f"the {setting} that the program gives", True, held)
    if token := cls.signed_in(settings):
        given = ", by the credential that the program gives" if "credential" in program else ""
        yield _Secret(f"{token[0]}{given}", token[1], "a token")
        return
    for setting, variable in cls.environment.items():  # build() reads these by default
        absent = (
            settings.get(setting) is None and settings.get(cls.together.get(setting, "")) is None
        )
        if absent and backends.is_secret(cls, setting):
            yield _Secret(variable, True, environ.get(variable, "").strip())


def store() -> Path:
    """Return the user's file of confirmations.

    Raises:
        ConfigurationError: The user has no home directory.
    """
    given = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        if os.path.isabs(given):
            folder = Path(given)
        elif sys.platform == "win32":
            folder = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
        elif sys.platform == "darwin":
            folder = Path.home() / "Library" / "Application Support"
        else:
            folder = Path.home() / ".config"
    except RuntimeError as error:
        raise ConfigurationError(
            "there is no home directory for the confirmations of phi2 trust: set XDG_CONFIG_HOME"
        ) from error
    return folder / "phi2sdk" / "trust.json"


def confirmed() -> set[Key]:
    """Return what the user has confirmed.

    Raises:
        ConfigurationError: The file of confirmations cannot be read.
    """
    path = store()
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        return {(str(one["file"]), str(one["host"]), str(one["variable"])) for one in written}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigurationError(
            f"{path}, which holds what you have confirmed, cannot be read "
            f"({type(error).__name__}): delete it, and run phi2 trust again"
        ) from error


def confirm(sendings: Iterable[Sending]) -> None:
    """Store that the user confirms these secrets.

    Raises:
        ConfigurationError: The file of confirmations cannot be read or written.
    """
    _write(confirmed() | {one.key for one in sendings})


def revoke(file: str | Path) -> int:
    """Remove all confirmations of a configuration file; return their number.

    Raises:
        ConfigurationError: The file of confirmations cannot be read or written.
    """
    known, resolved = confirmed(), str(Path(file).resolve())
    kept = {key for key in known if key[0] != resolved}
    if kept != known:
        _write(kept)
    return len(known) - len(kept)


def _write(keys: set[Key]) -> None:
    """Replace the file in one step; only the user can read it."""
    path = store()
    document = [{"file": f, "host": h, "variable": v} for f, h, v in sorted(keys)]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, temporary = tempfile.mkstemp(dir=path.parent, prefix=".trust-")
        try:
            with open(number, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written ({error.strerror})") from error
