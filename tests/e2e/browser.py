"""A real browser, headless, and JupyterLab as somebody uses it who sits before the screen."""

import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="the Debian package chromium is not installed")
PATIENCE_S = 120.0  #: of who waits for a page; the machine may have much else to do
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS, HEIGHT = (1280, 800), 900
LINK = re.compile(r"https?://\S+/login\?code=\S+")
RAN = re.compile(r"\[\d+\]:?")  #: what stands beside a cell that has run


def link_in(printed: str) -> str:
    """The one that signs a browser in."""
    found = LINK.search(printed)
    assert found, f"no link in {printed!r}"
    return found[0]


@dataclass(kw_only=True)
class Screen:
    """One window. It remembers whom it has asked for anything, and what went wrong in its pages."""

    page: Page
    pictures: Path
    hosts: set[str] = field(default_factory=set[str])
    errors: list[str] = field(default_factory=list[str])

    def picture(self, name: str) -> None:
        """Keep what is seen, in each width."""
        for width in WIDTHS[::-1]:
            self.page.set_viewport_size({"width": width, "height": HEIGHT})
            self.page.wait_for_timeout(500)  # until all has moved to its place
            self.page.screenshot(path=self.pictures / f"{name}-{width}.png")

    def close(self, dialog: str) -> None:
        """Close a dialog of this name whenever it is in the way of what is clicked."""
        place = self.page.get_by_role("dialog", name=dialog)
        self.page.add_locator_handler(place, lambda: place.get_by_role("button", name="Close").click())

    @contextmanager
    def beside(self) -> "Generator[Screen]":
        """Another tab, until it is closed."""
        page = self.page.context.new_page()
        try:
            yield Screen(page=page, pictures=self.pictures)
        finally:
            page.close()


@contextmanager
def browsing(folder: Path) -> Generator[Screen]:
    """A browser with a profile of its own in `folder`. Pictures go to `ULTRAMARINE_TEST_SCREENSHOTS`, or there too."""
    pictures = Path(os.environ.get("ULTRAMARINE_TEST_SCREENSHOTS") or folder / "screenshots").absolute()
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "profile",
            executable_path=CHROMIUM,
            args=OPTIONS,
            viewport={"width": WIDTHS[0], "height": HEIGHT},
        )
        context.set_default_timeout(PATIENCE_S * 1000)
        screen = Screen(page=context.pages[0], pictures=pictures)
        context.on("request", lambda request: screen.hosts.add(urlsplit(request.url).netloc))
        context.on("weberror", lambda error: screen.errors.append(str(error.error)))
        try:
            yield screen
        except BaseException:
            screen.page.screenshot(path=pictures / "failed.png")
            raise
        finally:
            context.close()


class Lab:
    """JupyterLab in it."""

    def __init__(self, screen: Screen) -> None:
        self._screen, self._page = screen, screen.page
        self._cells_run = 0
        # JupyterLab says so where it lists a folder just as a file in it gets another name.
        screen.close("Directory not found")

    def enter(self, link: str) -> None:
        self._page.goto(link)
        self._page.locator(".jp-Launcher-body").wait_for()

    def kernels(self) -> list[str]:
        """As the launcher offers them."""
        return [card.get_attribute("title") or "" for card in self._cards().all()]

    def new_notebook(self, kernel: str) -> None:
        """By a click on the tile that begins so."""
        self._cards().and_(self._page.locator(f'[title^="{kernel}"]')).first.click()
        self._page.locator(".jp-Notebook .jp-Cell").wait_for()
        # What is run before there is a kernel is lost: JupyterLab says nothing of it.
        self._page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()

    def _cards(self) -> Locator:
        section = self._page.locator(".jp-Launcher-section").filter(has_text="Notebook").first
        section.locator(".jp-LauncherCard").first.wait_for()
        return section.locator(".jp-LauncherCard")

    def run(self, code: str, *, within_s: float = PATIENCE_S) -> str:
        """Paste it in the next cell, and run that; the text below it."""
        cell = self._page.locator(".jp-Notebook .jp-Cell").nth(self._cells_run)
        cell.locator(".cm-content").click()
        self._page.keyboard.insert_text(code.rstrip("\n"))
        self._page.keyboard.press("Shift+Enter")
        self._cells_run += 1
        cell.locator(".jp-InputPrompt", has_text=RAN).wait_for(timeout=within_s * 1000)
        assert not cell.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count()
        return cell.locator(".jp-Cell-outputArea").inner_text()

    def pictures_in_cells(self) -> int:
        return self._page.locator(".jp-Notebook .jp-OutputArea-output img").count()

    def save_as(self, name: str) -> None:
        self._page.keyboard.press("Control+s")
        dialog = self._page.locator(".jp-Dialog")
        dialog.locator("input[type=text], input:not([type])").first.fill(name)
        dialog.get_by_role("button", name="Rename and Save").click()
        self._page.locator(".lm-TabBar-tabLabel", has_text=name).first.wait_for()

    def download(self, into: Path) -> None:
        """The notebook that is open."""
        with self._page.expect_download() as download:
            self._page.get_by_role("menuitem", name="File", exact=True).click()
            self._page.get_by_role("menuitem", name="Download", exact=True).click()
        download.value.save_as(into)

    def notifications(self) -> list[str]:
        """What is shown at the lower right."""
        return [one.inner_text() for one in self._page.locator(".Toastify__toast").all()]
