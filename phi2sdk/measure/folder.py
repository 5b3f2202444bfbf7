"""The folder of a run: ``run.json`` says what it is, ``records.jsonl`` what happened.

``identity.json`` is there where the sampled answers were examined with local weights.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from os import cpu_count
from pathlib import Path
from typing import Any

from phi2sdk import __version__
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.files import ANOTHER_COPY, read_json, write_file
from phi2sdk.measure.journal import Journal, Recorded, read_journal
from phi2sdk.measure.prompt_logprobs import LOGPROBS, ScoredText, read_logprobs
from phi2sdk.measure.records import Key
from phi2sdk.measure.run_document import SCHEMA, check_identity, check_keys, check_run

RUN = "run.json"
RECORDS = "records.jsonl"
IDENTITY = "identity.json"


@dataclass(frozen=True, slots=True)
class Run:
    """A run, as read from its folder.

    Attributes:
        info: ``run.json``.
        recorded: The journal.
        identity: ``identity.json``, results of the identity tests; empty without it.
        told: ``logprobs.jsonl``, log-probabilities that endpoints returned for given texts.
    """

    info: Mapping[str, Any]
    recorded: Recorded
    identity: Mapping[str, Any] = field(default_factory=dict)
    told: tuple[ScoredText, ...] = ()

    @property
    def configuration(self) -> Mapping[str, Any]:
        """Return the configuration of the run."""
        found: Mapping[str, Any] = self.info["configuration"]
        return found

    @property
    def prompts(self) -> Mapping[str, str]:
        """Return the prompts by id, including the unique prefixes of the run.

        Each repetition has a different prefix of the same length. This is that of the first.
        """
        texts: Mapping[str, str] = self.configuration["prompts"]
        if not self.configuration.get("unique_prefix"):
            return texts
        keys = {id: Key("greedy", "", id, 0) for id in texts}
        return {id: unique_prefix(self.info["nonce"], keys[id]) + texts[id] for id in texts}

    @property
    def identity_prompts(self) -> Mapping[str, str]:
        """Return the prompts of the sampled arm by id, none if there is no sampled arm."""
        arm = self.configuration.get("identity")
        if arm is None:
            return {}
        found: Mapping[str, str] = arm["prompts"] or self.configuration["prompts"]
        return found

    @property
    def identity_format(self) -> str:
        """Return the prompt format of the sampled arm."""
        arm = self.configuration.get("identity") or {}
        return str(arm.get("format") or self.configuration["format"])


class RunFolder:
    """The folder of a run, which can be created, resumed and read.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def check_place(self, *, resume: bool) -> None:
        """Check that a run can begin or be resumed in this folder, with any configuration.

        Raises:
            ConfigurationError: There is no run to resume, there is a run without ``resume``, or
                the folder has other files.
        """
        try:
            self._check_place(resume=resume)
        except OSError as error:
            raise ConfigurationError(
                f"{self.path} cannot be used ({error.strerror}). Choose another --output"
            ) from error

    def _check_place(self, *, resume: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ConfigurationError(f"{self.path} is a file. Choose another --output")
        if (self.path / RUN).exists():
            if not resume:
                raise ConfigurationError(
                    f"{self.path} already has a run. Resume it with --resume, or choose another "
                    "--output"
                )
        elif not _half_written(self.path / RECORDS):
            raise ConfigurationError(
                f"{self.path} has records but no {RUN}, so the run cannot be resumed. Choose "
                "another --output"
            )
        elif resume:
            raise ConfigurationError(f"{self.path} has no run. Start one without --resume")
        elif self.path.is_dir() and any(not _half_written(p) for p in self.path.iterdir()):
            raise ConfigurationError(
                f"{self.path} has other files and no run. Choose another --output"
            )

    def check(self, configuration: Mapping[str, Any], *, resume: bool) -> None:
        """Check that the run can begin or be resumed in this folder, without writing.

        Raises:
            ConfigurationError: As :meth:`check_place`, or the run in the folder has another
                configuration.
        """
        self.check_place(resume=resume)
        if not resume:
            return
        before = self.read_info()["configuration"]
        if changes := list(differences(before, json.loads(json.dumps(configuration)))):
            shown = "; ".join(changes[:5]) + ("; ..." if len(changes) > 5 else "")
            raise ConfigurationError(
                f"{self.path} was made with another configuration: {shown}. Resume it with the "
                "same one, or choose another --output"
            )

    def open(self, info: Mapping[str, Any], *, resume: bool) -> tuple[Journal, Recorded]:
        """Begin or resume a run, and return its journal and the recorded requests.

        Args:
            info: The content of ``run.json``, which is written if it does not exist.
            resume: Whether to resume a run that exists.

        Raises:
            ConfigurationError: As :meth:`check`.
        """
        configuration = info["configuration"]
        self.check(configuration, resume=resume)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written: {error.strerror}") from error
        journal = Journal(self.path / RECORDS)
        try:
            self.check(configuration, resume=resume)  # no other process can write after this point
            if not (self.path / RUN).exists():
                document = {
                    "schema": SCHEMA,
                    "configuration_hash": configuration_hash(configuration),
                    **info,
                }
                text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
                write_file(self.path / RUN, text)
            journal.recorded.scored = read_logprobs(self.path / LOGPROBS)
            self._fitting(configuration, journal.recorded)
        except BaseException:
            journal.close()
            raise
        return journal, journal.recorded

    def read(self) -> Run:
        """Read the run.

        Raises:
            ConfigurationError: This is not the folder of a run, or a file in it is damaged.
        """
        info = self.read_info()
        return Run(
            info,
            self._fitting(info["configuration"], read_journal(self.path / RECORDS)),
            self.read_identity(),
            read_logprobs(self.path / LOGPROBS),
        )

    def read_identity(self) -> dict[str, Any]:
        """Return ``identity.json``, empty if it does not exist.

        Raises:
            ConfigurationError: It is damaged.
        """
        file = self.path / IDENTITY
        try:
            return check_identity(read_json(file))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ConfigurationError(f"{file} is damaged: {error}. {ANOTHER_COPY}") from None

    def write_identity(self, document: Mapping[str, Any]) -> None:
        """Write the results of the identity tests.

        Raises:
            ConfigurationError: It cannot be written.
        """
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_file(self.path / IDENTITY, text)

    def recorded(self) -> Recorded:
        """Return the recorded requests, none if there is no journal.

        Raises:
            ConfigurationError: The journal is damaged.
        """
        recorded = read_journal(self.path / RECORDS)
        recorded.scored = read_logprobs(self.path / LOGPROBS)
        if not recorded.done and not recorded.open:
            return recorded
        return self._fitting(self.read_info()["configuration"], recorded)

    def _fitting(self, configuration: Mapping[str, Any], recorded: Recorded) -> Recorded:
        """Return the recorded requests, if they belong to the configuration."""
        try:
            check_keys(configuration, (*recorded.done, *recorded.open))
        except ValueError as error:
            raise ConfigurationError(
                f"{self.path / RECORDS} does not belong to {RUN}: {error}. {ANOTHER_COPY}"
            ) from None
        return recorded

    def read_info(self) -> dict[str, Any]:
        """``run.json``.

        Raises:
            ConfigurationError: It is missing or damaged.
        """
        try:
            return check_run(read_json(self.path / RUN))
        except FileNotFoundError:
            raise ConfigurationError(
                f"{self.path} is not the folder of a run: it has no {RUN}. Name the folder that "
                "was given to --output"
            ) from None
        except ValueError as error:
            raise ConfigurationError(
                f"{self.path / RUN} is damaged: {error}. {ANOTHER_COPY}"
            ) from None


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that change when the configuration changes."""
    canonical = json.dumps(configuration, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield ``path: before -> after`` for each leaf that differs."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            where = f"{path}.{key}" if path else str(key)
            yield from differences(before.get(key), after.get(key), where)
    elif before != after:
        yield f"{path}: {_short(before)} -> {_short(after)}"


def _half_written(path: Path) -> bool:
    """Return whether a file is missing, or is left by a run that was killed at its start."""
    if path.name == RECORDS:
        return not path.is_symlink() and (not path.exists() or path.stat().st_size == 0)
    return path.name.startswith(f".{RUN}.")


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def machine(*, local: bool = False) -> dict[str, str | int | float | None]:
    """Return a description of this machine, without its name.

    Args:
        local: Whether a target runs here, so that the GPU is named; null if there is none.
    """
    gpu = {"gpu": _gpu()} if local else {}
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": cpu_count(),
        "python": platform.python_version(),
        **gpu,
    }


def _gpu() -> str | None:
    """Return the name of the GPU that a local target uses; ``None`` if it uses the CPU."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "Apple GPU" if torch.backends.mps.is_available() else None


def versions() -> dict[str, str]:
    """Versions of this package and of what it loaded."""
    found = {"phi2sdk": __version__}
    for module in ("aiohttp", "grpc", "numpy", "scipy", "torch", "transformers"):
        if module in sys.modules:
            package = "grpcio" if module == "grpc" else module
            found[package] = metadata.version(package)
    return found


def unique_prefix(nonce: str, key: Key) -> str:
    """16 hexadecimal digits and a line break.

    Args:
        nonce: Of the run, so that another run with the same configuration differs too.
        key: The request; its target does not matter.
    """
    text = json.dumps([nonce, key.arm, key.prompt, key.repetition])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest() + "\n"
