"""``python -m phi2sdk.emulator``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from phi2sdk.cli.errors import USAGE, leaving_at_once, run

_NAME = "python -m phi2sdk.emulator"
_EXAMPLES = """\
examples:
  python -m phi2sdk.emulator
      scripted text on free ports; prints the variables to export
  python -m phi2sdk.emulator --model demo --ttft 0.2 --per-token 0.02
      the bundled checkpoint, at the speed of a small GPU
  python -m phi2sdk.emulator --script answers.json --port-base 8100 --for 60
      {"a prompt": "its answer"}, on ports 8100 to 8103, for a minute
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and serve; the exit status."""
    with leaving_at_once():
        from phi2sdk.emulator.emulator import PublicBindRefused
        from phi2sdk.emulator.serve import UsageProblem, serve
    asked = _parser().parse_args(arguments)
    try:
        serve(
            model=asked.model,
            script=asked.script,
            key=asked.key,
            ttft=asked.ttft,
            per_token=asked.per_token,
            port_base=asked.port_base,
            seconds=asked.seconds,
            host=asked.host,
            allow_public=asked.allow_public_bind,
            providers=asked.provider,
            as_json=asked.json,
            say=partial(print, flush=True),
            warn=partial(print, file=sys.stderr),
        )
    except (UsageProblem, PublicBindRefused) as problem:
        print(f"{_NAME}: {problem}", file=sys.stderr)  # noqa: T201
        return USAGE
    return 0


def _parser() -> argparse.ArgumentParser:
    from phi2sdk.emulator.emulator import PROVIDERS

    parser = argparse.ArgumentParser(
        prog=_NAME,
        description="Serve Azure, Clarifai, Hugging Face and OpenAI's protocols on loopback.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", metavar="PATH|demo", help="answer from a checkpoint (demo: the bundled one)")
    add("--script", type=Path, metavar="FILE", help="answer from a file: JSON, or one plain text")
    add("--key", default="test-key", help="the key to accept (default: %(default)s)")
    add("--ttft", type=float, default=0.0, metavar="SECONDS", help="time to the first token")
    add("--per-token", type=float, default=0.0, metavar="SECONDS", help="time between tokens")
    add("--port-base", type=int, default=0, metavar="PORT", help="first port (0: free ones)")
    add("--for", dest="seconds", type=float, metavar="SECONDS", help="stop by itself")
    add("--json", action="store_true", help="print the variables as one line of JSON")
    add("--provider", action="append", choices=PROVIDERS, help="only this one; may be repeated")
    add("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    add("--allow-public-bind", action="store_true", help="let --host be other than loopback")
    return parser


if __name__ == "__main__":
    run(_NAME, lambda: main)
