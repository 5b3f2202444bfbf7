"""Look for inputs that break a reader, for as long as you like.

    python tools/fuzz.py [--minutes 10] [--only TEXT] [--examples 2000]

Runs every test marked ``fuzz`` in turn, each time with a new seed, until the time is over:
server-sent events, gRPC replies, reply documents, configurations and their settings, prompts,
inputs, journals. What hypothesis finds it makes small and prints; put it into the test as an
``@example``, and it is tried again in every run of the tests. Exit status 1 if something was found.
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
    """The tests that are marked, by their node ids."""
    command = [sys.executable, "-m", "pytest", "tests", "-m", "fuzz", "--collect-only", "-q"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if "::" in line and only in line]


def main() -> int:
    """Search until the time is over; print a line for each test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", default="", help="only tests whose name has this")
    parser.add_argument("--examples", type=int, default=2000, help="of a test, each turn")
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
        print(f"{tried[test]:>9,} examples  {test}{'  FOUND' if test in found else ''}")
    print(f"{sum(tried.values()):,} examples in all, {len(found)} of {len(tests)} tests failed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
