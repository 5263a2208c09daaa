"""A cell in a browser: a headless Chromium that is there already, from a link to what is shown below the cell."""

import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
)
WITHIN_MS = 120_000.0


@contextmanager
def started() -> Generator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


def shown_at(browser: Browser, link: str, kernel: str, code: str, shown: str) -> float:
    """When `shown` stood below the cell, in seconds since 1970. `kernel`: what its tile begins with.

    Clicks and keys come as fast as the page takes them; nothing of a visit before is in its cache.
    """
    page = browser.new_page()
    page.set_default_timeout(WITHIN_MS)
    try:
        page.goto(link)
        page.locator(f'.jp-LauncherCard[title^="{kernel}"]').first.click()
        page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
        cell = page.locator(".jp-Notebook .jp-Cell").first
        cell.locator(".cm-content").click()
        page.keyboard.insert_text(code)
        page.keyboard.press("Shift+Enter")
        cell.locator(".jp-OutputArea-output", has_text=shown.strip()).first.wait_for()
        return time.time()
    finally:
        page.close()
