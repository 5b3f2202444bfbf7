"""Options that several commands share, and the completion of their values."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from phi2sdk import backends, prompts
from phi2sdk.config.lookup import DEFAULT_CONFIG, load_config
from phi2sdk.errors import ConfigurationError, InvalidRequest
from phi2sdk.prompts import FORMATS, Prompt, known_format
from phi2sdk.sampling import PARAMETERS, Sampling


def complete_targets(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the names of targets and backends that complete ``incomplete``, with descriptions.

    A configuration that cannot be read adds no names and raises no error.
    """
    try:
        configured = load_config(ctx.params.get("config") or DEFAULT_CONFIG)
    except ConfigurationError:
        configured = {}
    for name, target in configured.items():
        if name.startswith(incomplete):
            yield name, f"{target.backend}, in {ctx.params.get('config') or DEFAULT_CONFIG}"
    for name in backends.known():
        if name.startswith(incomplete) and name not in configured:
            yield name, "backend"


def complete_formats(incomplete: str) -> list[str]:
    """Return the names of prompt formats that complete ``incomplete``."""
    return [name for name in FORMATS if name.startswith(incomplete)]


def panel(name: str | None = None) -> Callable[..., Any]:
    """Return a function that declares an option in one panel of the help.

    The help text of the option states its default, as in ``(default: 256)``.
    """
    return partial(typer.Option, rich_help_panel=name, show_default=False)


FLAG = ""
"""The metavar of an option without a value."""


def flag(option: Callable[..., Any], *names: str, help: str) -> Any:
    """Declare an option without a value, in the panel of ``option``."""
    return option(*names, metavar=FLAG, help=help)


_prompt, _target, _sampling = panel("Prompt"), panel("Target"), panel("Sampling")
_CONFIG: dict[str, Any] = {
    "metavar": "FILE",
    "help": "Configuration file (default: phi2.toml).",
    "dir_okay": False,
}

TargetConfig = Annotated[Path | None, _target("--config", **_CONFIG)]
MaxTokens = Annotated[
    int, _sampling(metavar="N", help="Maximum number of output tokens (default: 256).")
]
Temperature = Annotated[
    float,
    _sampling(metavar="T", help="Sampling temperature; 0 is greedy decoding (default: 0)."),
]
TopP = Annotated[
    float,
    _sampling(metavar="P", help="Nucleus sampling: cumulative probability (default: 1, off)."),
]
Seed = Annotated[
    int | None, _sampling(metavar="N", help="Seed for reproducible sampling (default: random).")
]
Config = Annotated[Path | None, panel()("--config", **_CONFIG)]
Format = Annotated[
    str,
    _prompt(
        metavar="NAME",
        help=f"Prompt format: {', '.join(FORMATS)} (default: instruct).",
        autocompletion=complete_formats,
    ),
]
AllowControlTokens = Annotated[
    bool, flag(_prompt, "--allow-control-tokens", help="Allow <|endoftext|> in the prompt.")
]

HELP = {"help_option_names": ["-h", "--help"]}
"""The settings of an application: both names of the option that shows the help."""

IN_THE_TABLE = 'set on_unsupported = "warn" in the target\'s table of phi2.toml'
"""The advice that replaces ``--on-unsupported`` in commands without this option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """The prompt, the target and the sampling parameters of a request, as they were typed."""

    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT", help="Prompt; - or no TEXT reads standard input.", show_default=False
        ),
    ] = None
    target: Annotated[
        str,
        _target(
            "--target",
            "-t",
            metavar="NAME",
            help="Target of phi2.toml, or a backend (default: local).",
            autocompletion=complete_targets,
        ),
    ] = "local"
    model: Annotated[
        str | None,
        _target(
            "--model",
            "-m",
            metavar="NAME",
            help="Model to request from the target (default: the model that the target names).",
        ),
    ] = None
    config: TargetConfig = None
    format: Format = "instruct"
    allow_control_tokens: AllowControlTokens = False
    max_tokens: MaxTokens = 256
    temperature: Temperature = 0.0
    top_p: TopP = 1.0
    top_k: Annotated[
        int | None,
        _sampling(metavar="K", help="Sample from the K most likely tokens (default: off)."),
    ] = None
    min_p: Annotated[
        float,
        _sampling(
            metavar="P",
            help="Minimum probability, relative to the most likely token (default: 0, off).",
        ),
    ] = 0.0
    repetition_penalty: Annotated[
        float, _sampling(metavar="X", help="Penalty for repeated tokens (default: 1, off).")
    ] = 1.0
    seed: Seed = None
    stop: Annotated[
        list[str] | None,
        _sampling(
            metavar="TEXT",
            help="End the answer before this text; repeatable (default: the stops of --format).",
        ),
    ] = None
    on_unsupported: Annotated[
        Literal["raise", "warn"],
        _sampling(
            metavar="raise|warn",
            help="Refuse a parameter that the route does not support, or leave it out "
            "(default: raise).",
        ),
    ] = "raise"

    def prompt(self) -> Prompt:
        """Return the prompt, from standard input if the text is missing or ``-``.

        Raises:
            InvalidRequest: The prompt is empty, is not UTF-8, or contains a control token.
        """
        text = _standard_input() if self.text in (None, "-") else str(self.text)
        format, allowed = known_format(self.format), self.allow_control_tokens
        return prompts.render(text, format, allow_control_tokens=allowed)

    def sampling(self) -> Sampling:
        """Return the sampling parameters.

        Raises:
            InvalidRequest: A value is outside of its range.
        """
        chosen = {name: getattr(self, name) for name in PARAMETERS}
        return Sampling(**{**chosen, "stop": self.stop or ()})

    def settings(self) -> dict[str, Any]:
        """Return the settings of the backend that replace those of the target."""
        return {} if self.model is None else {"model": self.model}


@contextmanager
def advice_as_options(
    *, on_unsupported: str = "give --on-unsupported warn"
) -> Generator[None, None, None]:
    """Replace the Python arguments that an error message advises by options of the command.

    Args:
        on_unsupported: The advice for a parameter that the route does not support.
    """
    options = {
        "pass allow_control_tokens=True": "give --allow-control-tokens",
        'pass on_unsupported="warn"': on_unsupported,
    }
    try:
        yield
    except InvalidRequest as error:
        for advice, option in options.items():
            error.message = error.message.replace(advice, option)
        raise


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"standard input is not UTF-8 (byte {error.start}): convert it first"
        ) from error


def percent(text: str) -> float:
    """Return a percentage such as ``5%`` or ``5`` as a share, 0.05.

    Raises:
        ConfigurationError: It is not a number above 0 and below 100.
    """
    try:
        value = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise ConfigurationError(
            f"margin {text!r} is not a percentage above 0 and below 100: write it as in 5%"
        )
    return value


Options = TypeVar("Options")


def takes(
    options: type[Options],
) -> Callable[[Callable[[Options, typer.Context], None]], Callable[..., None]]:
    """Make a command of a function whose first argument is an instance of ``options``.

    Args:
        options: A dataclass whose fields are annotated with typer's options.
    """
    hints = get_type_hints(options, include_extras=True)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(options)  # type: ignore[arg-type]
    ]
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

    def decorate(work: Callable[[Options, typer.Context], None]) -> Callable[..., None]:
        def command(context: typer.Context, **given: object) -> None:
            work(options(**given), context)

        command.__name__, command.__doc__ = work.__name__, work.__doc__
        command.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
        return command

    return decorate


def single_command(command: Callable[..., Any], example: str, **settings: Any) -> typer.Typer:
    """Return an application with one command, and an example at the end of its help."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=HELP)
    app.command(epilog=f"Example: {example}", **settings)(command)
    return app
