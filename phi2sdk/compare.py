"""Compare targets on the same prompts: measure them, then build the report.

::

    workload = read_workload("paragraphs.txt")
    report = await compare(workload, ["azure_eastus", "local"], out="run")
    print(report.targets["azure_eastus"].latency.e2e.p50)

``python -m phi2sdk.compare`` is the same on the command line; with nothing configured it runs the
demo. The code is in :mod:`phi2sdk.pipeline`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below: a missing package is one line then
    from phi2sdk.cli import compare_main

    compare_main()

from phi2sdk.identity.check import IdentityCheck
from phi2sdk.measure.comparison import Comparison, Progress, Settings
from phi2sdk.measure.workload import Workload, read_workload
from phi2sdk.pipeline import compare, opened, report_of, run_tokenizer, target_names

__all__ = [
    "Comparison",
    "IdentityCheck",
    "Progress",
    "Settings",
    "Workload",
    "compare",
    "opened",
    "read_workload",
    "report_of",
    "run_tokenizer",
    "target_names",
]
