"""Search for inputs that break a parser.

    python tools/fuzz.py [--minutes 10] [--only TEXT] [--examples 2000]

The command runs every test marked ``fuzz`` in turn, each time with a new seed, until the time is
over. The tests parse server-sent events, gRPC replies, reply documents, configurations and their
settings, prompts, inputs, and journals. hypothesis minimizes and prints each failing input; add it
to the test as an ``@example``, so that every run of the tests repeats it. The exit status is 1 if
a test failed.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parent.parent
QUIET = ["-q", "--no-header", "--no-summary", "--timeout", "0", "-p", "no:cacheprovider"]


def collected(only: str) -> list[str]:
    """Return the node ids of the marked tests."""
    command = [sys.executable, "-m", "pytest", "tests", "-m", "fuzz", "--collect-only", "-q"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if "::" in line and only in line]


def main() -> int:
    """Search until the time is over; print a line for each test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", default="", help="run only tests whose id contains this text")
    parser.add_argument(
        "--examples", type=int, default=2000, help="examples per run of a test (%(default)s)"
    )
    args = parser.parse_args()
    end = monotonic() + 60 * args.minutes
    tests, dice = collected(args.only), random.SystemRandom()
    tried, found = dict.fromkeys(tests, 0), dict[str, str]()
    while monotonic() < end and set(found) < set(tests):
        for test in tests:
            if test in found or monotonic() > end:
                continue
            seed = str(dice.getrandbits(32))
            options = ["--hypothesis-profile=long", f"--hypothesis-seed={seed}", *QUIET]
            ran = subprocess.run(
                [sys.executable, "-m", "pytest", test, *options],
                cwd=ROOT, capture_output=True, text=True, errors="backslashreplace",
                env=os.environ | {"FUZZ_EXAMPLES": str(args.examples)},
            )  # fmt: skip
            tried[test] += args.examples
            if ran.returncode:
                found[test] = ran.stdout
                print(ran.stdout, flush=True)
    for test in tests:
        print(f"{tried[test]:>9,} examples  {test}{'  FAILED' if test in found else ''}")
    print(f"{sum(tried.values()):,} examples in total, {len(found)} of {len(tests)} tests failed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
