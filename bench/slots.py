"""Check that thousands of requests in 16 slots get the same answers as each request alone.

    python bench/slots.py [--quick] [--json FILE] [--requests N]

The bundled checkpoint in float32 first answers 200 different requests one at a time: greedy and
sampled, of 1 to 48 tokens, with and without stops. Then 10,000 requests drawn from them run in 16
slots, with 64 in flight. Every tenth stream is closed early, so that rows join and leave all the
time. Tokens, text and finish reason must be equal.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.common import Report, parser
from tests.engine.many import run


def main() -> int:
    """Run the benchmark, and return 0 if every answer is correct."""
    made = parser(__doc__)
    made.add_argument("--requests", type=int, help="requests (10,000; with --quick 1,000)")
    args = made.parse_args()
    total = args.requests or (1_000 if args.quick else 10_000)
    report = Report("slots", args, ["phi2sdk", "torch"])
    begun = perf_counter()
    outcome = asyncio.run(run(total))
    report.row(requests=outcome.requests, tokens=outcome.tokens,
               seconds=round(perf_counter() - begun, 1))  # fmt: skip
    report.check("unanswered", total - outcome.requests, "<=", 0)
    report.check("different", len(outcome.different), "<=", 0)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
