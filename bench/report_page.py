"""Measure ``report.html`` of a large run: time to write, size, and time to open in Chromium.

The run has 20,000 requests: 2,000 prompts, 5 targets, 2 repetitions. The page is opened in a new
context without a network. `ready` is the time until the first screen and the tables can be used,
and `drawn` the time until every chart is drawn, both from the start of the navigation.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Browser, sync_playwright

from bench.common import Report, median, parser
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.build import build_from
from phi2sdk.report.html.page import html_page
from phi2sdk.report.measured import Measured
from tests.report.html.conftest import DESKTOP, chromium
from tests.report.html.making import large_run

WHEN = """(part) => new Promise((done) => {
    const look = () => (part in document.documentElement.dataset
        ? done(performance.now()) : setTimeout(look, 2));
    look();
})"""
SEARCH = """() => {
    const begun = performance.now();
    document.getElementById("search").value = "p1999";
    select();
    return performance.now() - begun;
}"""


def main() -> int:
    """Run the benchmark, and return 0 if every check holds."""
    args = parser(__doc__).parse_args()
    report = Report("report_page", args, ["phi2sdk", "playwright", "jinja2"])
    prompts = 200 if args.quick else 2000
    run = large_run(prompts=prompts)
    measured = Measured.of(run, estimating_tokenizer())
    made = build_from(measured)
    begun = time.perf_counter()
    page = html_page(made, measured)
    seconds = time.perf_counter() - begun
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "report.html"
        path.write_text(page, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        opened = [open_once(browser, path) for _ in range(3 if args.quick else 9)]
        browser.close()
    ready, drawn, search = (median(one[i] for one in opened) for i in range(3))
    report.row(
        requests=made.run.recorded,
        make_seconds=seconds,
        mib=len(page.encode()) / 2**20,
        ready_ms=ready,
        drawn_ms=drawn,
        first_search_ms=search,
    )
    report.check("open_seconds", drawn / 1e3, "<=", 2.0)
    report.note("medians over new contexts; the first search reads every answer")
    return report.finish()


def open_once(browser: Browser, path: Path) -> tuple[float, float, float]:
    """Return the milliseconds until ready, until drawn, and for the first search."""
    with browser.new_context(viewport=DESKTOP, offline=True) as context:
        page = context.new_page()
        page.goto(path.as_uri(), wait_until="commit")
        ready = float(page.evaluate(WHEN, "ready"))
        drawn = float(page.evaluate(WHEN, "drawn"))
        return ready, drawn, float(page.evaluate(SEARCH))


if __name__ == "__main__":
    sys.exit(main())
