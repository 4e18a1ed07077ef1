"""A real browser at a console."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.integration.running_console import PASSWORD, RunningConsole

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE_MS = 120_000


@contextmanager
def a_browser() -> Iterator[Browser]:
    """Chromium, or the test is skipped where it is not installed."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Browser, console: RunningConsole, *, scheme: str, width: int) -> tuple[Page, list[str]]:
    """A page at the console's address, and what the browser complains of on it."""
    context = browser.new_context(
        ignore_https_errors=True, color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    context.set_default_timeout(PATIENCE_MS)  # other tests share this machine
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(console.address)
    return page, complaints


def sign_in(page: Page, name: str = "ada") -> None:
    """As the administrator, or as somebody else of the same password."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Federation").wait_for()
