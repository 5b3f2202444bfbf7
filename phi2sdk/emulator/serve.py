"""Run the emulators until they are told to stop: what the command line does."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from phi2sdk.demo import checkpoint_path
from phi2sdk.emulator.clock import Schedule
from phi2sdk.emulator.emulator import PROVIDERS, Emulator, Provider
from phi2sdk.emulator.engine import Answers, Engine, ScriptedEngine
from phi2sdk.emulator.model_engine import ModelEngine

__all__ = ["UsageProblem", "read_script", "serve"]


class UsageProblem(ValueError):
    """Something the caller of the command can mend; the message says how."""


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
    as_json: bool = False,
    say: Callable[[str], None] = print,
    warn: Callable[[str], None] | None = None,
) -> None:
    """Serve all providers until SIGINT or SIGTERM, or for ``seconds``.

    Args:
        model: A folder with a checkpoint, or ``demo`` for the bundled one.
        script: A JSON file with answers: a text, a list used up in turn, or an object that maps
            prompts to answers. A file that is not JSON is one answer to everything.
        key: The key that every provider accepts.
        ttft: Seconds from arrival to the first token.
        per_token: Seconds between tokens.
        port_base: The first of consecutive ports; 0 takes free ones.
        seconds: Stop by itself after so long.
        host: Where to listen; anything but loopback needs ``allow_public``.
        allow_public: See ``host``.
        providers: Which to start; all that are installed if none is named.
        as_json: The environment as one line of JSON, and no other line.
        say: Takes each line of output.
        warn: Takes each line about what is left out; ``say`` if there is none.

    Raises:
        UsageProblem: The script or the model cannot be used, a number is out of its range, a
            port is taken, or a package is missing.
        PublicBindRefused: ``host`` is not loopback and ``allow_public`` is not set.
    """
    if model is not None and script is not None:
        raise UsageProblem("--model and --script exclude each other: one engine answers")
    try:
        schedule = Schedule(first=ttft, per_token=per_token)
    except ValueError as error:
        raise UsageProblem(str(error)) from error
    chosen = _installed(providers, warn or say)
    if port_base and not 0 < port_base <= 65536 - len(chosen):
        raise UsageProblem(
            f"port-base {port_base}: {len(chosen)} ports from it on must lie between 1 and 65535"
        )
    if seconds is not None and not 0 < seconds < float("inf"):
        raise UsageProblem(f"for {seconds:g}: give the seconds to run, above 0")
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
        asyncio.run(_run(emulator, seconds, say, as_json=as_json))
    except OSError as error:
        raise UsageProblem(
            f"cannot listen on {host} from port {port_base} on: {error.strerror or error}. "
            "Choose another --port-base, or 0 for free ports."
        ) from error
    finally:
        if isinstance(engine, ModelEngine):
            engine.close()


def read_script(path: Path) -> Answers:
    """The answers in a script file; raises ``UsageProblem``."""
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
    raise UsageProblem(f"the script {path} must hold a text, a list of texts or an object of texts")


def _installed(asked: Sequence[Provider] | None, warn: Callable[[str], None]) -> Sequence[Provider]:
    """Whom to start: Clarifai speaks gRPC, which not everybody has installed."""
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


def _said(emulator: Emulator, seconds: float | None, *, as_json: bool) -> Iterator[str]:
    if as_json:
        yield json.dumps(emulator.environment())
        return
    for variable, value in emulator.environment().items():
        yield f"export {variable}={shlex.quote(value)}"
    until = f"for {seconds:g} s" if seconds is not None else "until Ctrl-C"
    yield f"# {', '.join(emulator.providers)} on loopback, {until}"
