"""Write a picture of the first screen of a report for the documentation.

    phi2 compare --demo --out /tmp/demo
    python tools/picture.py /tmp/demo docs/compare/report.png

Chromium and the extra ``test`` are needed. PHI2_CHROMIUM names another browser.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

__all__ = ["main", "picture"]

WIDTH, HEIGHT = 1440, 900


def picture(page: Path, to: Path) -> None:
    """Write the first screen of ``report.html`` as a PNG file.

    Args:
        page: The page.
        to: The PNG file.
    """
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("PHI2_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", offline=True
        )
        opened = context.new_page()
        opened.goto(page.resolve().as_uri())
        opened.wait_for_selector("html[data-drawn]")
        opened.screenshot(path=to)
        browser.close()


def main() -> None:
    """Take the folder of a run and the file to write from the command line."""
    if len(sys.argv) != 3:
        sys.exit("Usage: python tools/picture.py RUN_FOLDER FILE.png")
    picture(Path(sys.argv[1]) / "report.html", Path(sys.argv[2]))


if __name__ == "__main__":
    main()
