"""A real browser, without any network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.report.html.making import EVERYTHING, examined_as, varied_run, write_page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP = ViewportSize(width=1440, height=900)
PHONE = ViewportSize(width=390, height=844)


@dataclass
class Opened:
    """A page of the browser, with its console errors and its requests."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def chromium() -> str:
    """Return the path of the browser."""
    named = os.environ.get("PHI2_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail(
            "these tests need Chromium: apt-get install -y chromium (Debian, Ubuntu), or name one "
            "in PHI2_CHROMIUM"
        )
    return found


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start the installed Chromium without a window."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """Return a function that opens a file in a fresh offline context, with these options."""
    contexts = []

    def opened(path: Path, fragment: str = "", **options: Any) -> Opened:
        context = browser.new_context(
            **{"viewport": DESKTOP, "offline": True, "color_scheme": "light", **options}
        )
        contexts.append(context)
        found = Opened(context.new_page())

        def on_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                found.complaints.append(message.text)

        def on_request(request: Request) -> None:
            found.requests.append(request.url)

        found.page.on("console", on_console)
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on("dialog", lambda dialog: found.complaints.append(dialog.message))
        found.page.on("request", on_request)
        found.page.goto(path.as_uri() + fragment)
        if options.get("java_script_enabled", True):
            found.page.wait_for_selector("html[data-drawn]")
        return found

    yield opened
    for context in contexts:
        context.close()


def expand(page: Page) -> None:
    """Open every section of the page, and wait until its charts are drawn."""
    page.get_by_role("button", name="Expand all").click()
    expect(page.locator("#plot-time svg, #plot-time p")).to_have_count(1)


@pytest.fixture(scope="package")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of a run that has every kind of result."""
    folder = tmp_path_factory.mktemp("varied")
    return write_page(folder, varied_run(), EVERYTHING, **examined_as("local", "hourly"))
