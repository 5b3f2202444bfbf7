"""Run the emulators until a signal, for a time, or while a command runs (``phi2 emulate``)."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from phi2sdk.demo import checkpoint_path
from phi2sdk.emulator.clock import Schedule
from phi2sdk.emulator.emulator import PROVIDERS, Emulator, Provider, no_proxy
from phi2sdk.emulator.engine import Answers, Engine, ScriptedEngine
from phi2sdk.emulator.model_engine import ModelEngine


class UsageProblem(ValueError):
    """An option of the command cannot be used; the message says what to change."""


def serve(
    *,
    model: str | None = None,
    script: Path | None = None,
    key: str = "test-key",
    ttft: float = 0.0,
    per_token: float = 0.0,
    port_base: int = 0,
    seconds: float | None = None,
    host: str = "127.0.0.1",
    allow_public: bool = False,
    providers: Sequence[Provider] | None = None,
    command: Sequence[str] = (),
    as_json: bool = False,
    say: Callable[[str], None] = print,
    warn: Callable[[str], None] | None = None,
) -> int:
    """Serve the providers while ``command`` runs, else until SIGINT or SIGTERM, or for ``seconds``.

    Args:
        model: A folder with a checkpoint, or ``demo`` for the bundled one.
        script: A JSON file with answers: a text, a list that is used up in order, or an object
            that maps prompts to answers. A file that is not JSON is the answer to every prompt.
        key: The key that every provider accepts.
        ttft: Seconds from the arrival of a request to the first token.
        per_token: Seconds between tokens.
        port_base: The first of consecutive ports; 0 takes free ports.
        seconds: Stop after this many seconds.
        host: The address to listen on; an address other than loopback needs ``allow_public``.
        allow_public: Allow a ``host`` that other machines can reach.
        providers: The providers to start; all that are installed by default.
        command: A program and its arguments. It runs with the environment variables of the
            emulators, and the emulators stop when it ends.
        as_json: Print the variables as one line of JSON, and nothing else.
        say: Receives each line of output.
        warn: Receives each line about a provider that is left out; ``say`` by default.

    Returns:
        The exit status of ``command`` (128 + the signal that ended it), or 0.

    Raises:
        UsageProblem: The script or the model cannot be used, a number is out of its range, a
            port is taken, a package is missing, or the command cannot be started.
        PublicBindRefused: ``host`` is not loopback and ``allow_public`` is not set.
    """
    if command and (seconds is not None or as_json):
        option = "--json" if as_json else "--for"
        raise UsageProblem(
            f"{option} has no effect with a command, which has the variables and decides when the "
            f"emulators stop: leave out {option} or the command"
        )
    if model is not None and script is not None:
        raise UsageProblem("--model and --script exclude each other: leave out one of them")
    try:
        schedule = Schedule(first=ttft, per_token=per_token)
    except ValueError as error:
        raise UsageProblem(str(error)) from error
    chosen = _installed(providers, warn or say)
    if port_base and not 0 < port_base <= 65536 - len(chosen):
        raise UsageProblem(
            f"port-base {port_base}: the {len(chosen)} ports must be between 1 and 65535"
        )
    if seconds is not None and not 0 < seconds < float("inf"):
        raise UsageProblem(f"for {seconds:g}: the number of seconds must be above 0")
    engine = _engine(model, script)
    try:
        emulator = Emulator(
            engine,
            key=key,
            schedule=schedule,
            host=host,
            port=port_base,
            providers=chosen,
            allow_public=allow_public,
        )
        if command:
            return asyncio.run(_run_command(emulator, command))
        asyncio.run(_run(emulator, seconds, say, as_json=as_json))
        return 0
    except OSError as error:
        raise UsageProblem(
            f"cannot listen on {host} from port {port_base}: {error.strerror or error}. "
            "Choose another --port-base, or 0 for free ports."
        ) from error
    finally:
        if isinstance(engine, ModelEngine):
            engine.close()


def read_script(path: Path) -> Answers:
    """Return the answers in a script file.

    Raises:
        UsageProblem: The file cannot be read, or does not contain answers.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageProblem(f"cannot read the script {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageProblem(f"the script {path} is not UTF-8 (byte {error.start})") from error
    try:
        answers = json.loads(text)
    except ValueError:
        return text
    except RecursionError as error:
        raise UsageProblem(f"the script {path} is nested too deeply") from error
    if isinstance(answers, str):
        return answers
    if isinstance(answers, list) and all(isinstance(item, str) for item in answers):
        return answers
    if isinstance(answers, dict) and all(isinstance(item, str) for item in answers.values()):
        return answers
    raise UsageProblem(
        f"the script {path} must contain a text, a list of texts or an object of texts"
    )


def _installed(asked: Sequence[Provider] | None, warn: Callable[[str], None]) -> Sequence[Provider]:
    """Return the providers to start. Clarifai needs gRPC packages, which may be missing."""
    chosen = asked or PROVIDERS
    missing = [name for name in ("grpc", "clarifai_grpc") if not _found(name)]
    if "clarifai" not in chosen or not missing:
        return chosen
    hint = f"it needs {missing[0]}: python -m pip install 'phi2sdk[emulator]'"
    if asked:
        raise UsageProblem(f"clarifai cannot be served: {hint}")
    warn(f"# clarifai is left out: {hint}")
    return [name for name in chosen if name != "clarifai"]


def _found(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _engine(model: str | None, script: Path | None) -> Engine:
    if model is None:
        return ScriptedEngine(read_script(script)) if script is not None else ScriptedEngine()
    path = checkpoint_path() if model == "demo" else Path(model)
    if not path.is_dir():
        raise UsageProblem(f"there is no checkpoint folder {path}")
    from phi2sdk.backends.engine import LocalModel

    return ModelEngine(LocalModel.load(path), name="microsoft/phi-2")


async def _run(
    emulator: Emulator, seconds: float | None, say: Callable[[str], None], *, as_json: bool
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    try:
        async with emulator:
            for line in _said(emulator, seconds, as_json=as_json):
                say(line)
            try:
                await asyncio.wait_for(stopped.wait(), seconds)
            except TimeoutError:
                if not as_json:
                    say("# time is up")
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)


async def _run_command(emulator: Emulator, command: Sequence[str]) -> int:
    loop = asyncio.get_running_loop()
    async with emulator:
        environ = {**os.environ, **no_proxy(os.environ), **emulator.environment()}
        try:
            process = await asyncio.create_subprocess_exec(*command, env=environ)
        except OSError as error:
            raise UsageProblem(
                f"the command {command[0]} cannot be started: {error.strerror}"
            ) from error
        loop.add_signal_handler(signal.SIGTERM, process.terminate)
        # A terminal sends Ctrl-C to the command too, and the command decides what it means.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        try:
            status = await process.wait()
        finally:
            for name in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(name)
    return status if status >= 0 else 128 - status


def _said(emulator: Emulator, seconds: float | None, *, as_json: bool) -> Iterator[str]:
    if as_json:
        yield json.dumps(emulator.environment())
        return
    for variable, value in emulator.environment().items():
        yield f"export {variable}={shlex.quote(value)}"
    until = f"for {seconds:g} s" if seconds is not None else "until Ctrl-C"
    yield f"# {', '.join(emulator.providers)} on loopback, {until}"
