"""Read, replace and append to the files in the folder of a run without following links.

A folder may come from another person. A link in it must not cause a read or write of a file
elsewhere, and a pipe must not block. Errors of the operating system become a
:class:`ConfigurationError`.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from phi2sdk.errors import ConfigurationError
from phi2sdk.parsing import parse_json

_PLAIN = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        FileNotFoundError: The file does not exist.
        ConfigurationError: It is a link or not a regular file, or it cannot be read.
    """
    try:
        with os.fdopen(_open(path, os.O_RDONLY), "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({_reason(error)}). Make it readable, then try again"
        ) from error


def read_json(path: Path) -> Any:
    """Return the JSON document in a regular file, whose text is valid Unicode.

    Raises:
        FileNotFoundError: The file does not exist.
        ConfigurationError: It cannot be read (see :func:`read_bytes`), or it is damaged.
    """
    try:
        document = parse_json(read_bytes(path))
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{path} is damaged: half of a surrogate pair is not a character. {ANOTHER_COPY}"
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is damaged: {error}. {ANOTHER_COPY}") from None
    return document


ANOTHER_COPY = "Restore the file from a backup, or repeat the run"


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file completely or not at all. A link with its name is replaced, not followed.

    An unpaired surrogate, which UTF-8 cannot encode, is written as ``\\udXXX``.

    Raises:
        ConfigurationError: The disk is full, or the folder cannot be written.
    """
    with replaced(path) as file:
        file.write(
            content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
        )


@contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file that takes the place of ``path`` when the block ends without an error.

    Raises:
        ConfigurationError: The disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(16)}")
    try:
        try:
            number = _open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with os.fdopen(number, "wb") as file:
                yield file
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


class AppendedFile:
    """Lines that are only ever appended. Only one process may have the file open.

    What follows the last line break was left by a process that was killed while it wrote, and is
    cut off.

    Args:
        path: The file; made where it is missing.

    Raises:
        ConfigurationError: Another process has it open; it is a link or no regular file; or it
            cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._torn = False
        try:
            number = _open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            self._file: IO[bytes] = os.fdopen(number, "r+b", buffering=0)
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            _lock(self._file, path)
        except BaseException:
            self._file.close()
            raise

    def read(self) -> bytes:
        """All whole lines."""
        return b"".join(self.lines())

    def lines(self) -> Iterator[bytes]:
        """Yield all whole lines, each with its line break. No line may be added meanwhile."""
        whole = 0
        try:
            self._file.seek(0)
            for line in open(self._file.fileno(), "rb", closefd=False):  # noqa: SIM115 - buffers
                if not line.endswith(b"\n"):
                    self._file.truncate(whole)
                    return
                whole += len(line)
                yield line
        except OSError as error:
            raise unwritable(self._path, error) from error

    def append(self, line: str) -> None:
        """Add a line.

        Raises:
            ConfigurationError: It could not be written whole. No line can follow it.
        """
        # One write per line: a killed process leaves the line complete, missing, or truncated.
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        reason = "an earlier line could not be written"
        if not self._torn:
            try:
                if self._file.write(data) == len(data):
                    return
                reason = "the disk is full"
            except OSError as error:
                reason = _reason(error)
            self._torn = True  # a line after half a line would be lost
        raise ConfigurationError(
            f"{self._path} cannot be written ({reason}). Free disk space, then resume the run "
            "with --resume"
        )

    def close(self) -> None:
        """Let others write. Closing twice is harmless."""
        self._file.close()


def no_link(path: Path) -> None:
    """Check that a file is not a link.

    Raises:
        ConfigurationError: It is a link.
    """
    if path.is_symlink():
        raise ConfigurationError(
            f"{path} is a symbolic link. The files of a run must be regular files, because a link "
            "in a folder from another person could point to any file. Replace the link with the "
            "file itself"
        )


def _open(path: Path, flags: int) -> int:
    no_link(path)  # O_NOFOLLOW sees the same, without a race, where the system has it
    try:
        number = os.open(path, flags | _PLAIN, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            no_link(path)
        raise
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ConfigurationError(
                f"{path} is not a regular file. Move it to another folder, then try again"
            )
    except BaseException:
        os.close(number)
        raise
    return number


def unwritable(path: Path, error: OSError) -> ConfigurationError:
    """Return the error for a file of a run that cannot be written."""
    return ConfigurationError(
        f"{path} cannot be written ({_reason(error)}). The recorded requests are kept. Free disk "
        "space and make the folder writable, then run the command again"
    )


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _lock(file: IO[bytes], path: Path) -> None:
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(
            f"{path.parent} is being written by another process: wait for it, or choose another "
            "--output"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be locked ({_reason(error)}): choose an --output on another file system"
        ) from error
