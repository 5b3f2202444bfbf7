"""Thousands of requests over 16 slots: every answer the one that its request has alone.

    python bench/slots.py [--quick] [--json FILE] [--requests N]

200 different requests to the bundled checkpoint in float32, greedy and sampled, of 1 to 48 tokens,
with stops and without, are answered one by one first. Then 10,000 drawn from them go through 16
slots, 64 at a time, and every tenth stream is left early, so that rows join and leave all the time.
Compared are tokens, text and finish reason.
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
    """Run it; 0 if every answer is right."""
    made = parser(__doc__)
    made.add_argument("--requests", type=int, help="10,000, with --quick 1,000")
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
