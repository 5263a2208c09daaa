"""The page of a notebook's job, in a real browser: plots and tables are seen, and nothing in it acts."""

import json
import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .browser import Screen, browsing, link_in, needs_chromium
from .installation import Installation, installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), needs_chromium]
FETCHED_S = 900  #: an environment, the first time
WAITS_MS = 2000  #: for what must not happen
PLOT = """import numpy as np, pandas as pd, matplotlib.pyplot as plt
x = np.linspace(0, 2 * np.pi, 200)
for phase in (0, 1, 2):
    plt.plot(x, np.sin(x + phase), label=f"phase {phase}")
plt.title("Three waves"); plt.legend(); plt.show()"""
TABLE = 'pd.DataFrame({"depth": [2, 3, 4], "error": [58.25, 55.5, 54.75]}).round(2)'
VECTOR = """from IPython.display import HTML, SVG, display
display(SVG("<svg xmlns='http://www.w3.org/2000/svg' width='120' height='40'><rect width='120' height='40' "
            "fill='teal'/></svg>"))"""
#: Each piece asks `TRAP` for something, or marks the page, as far as a browser lets it.
HOSTILE = """<script>document.title = 'ran'; fetch('TRAP/script')</script>
<link rel="stylesheet" href="TRAP/style.css"><link rel="preconnect" href="TRAP"><link rel="prefetch" href="TRAP/p">
<style>@import "TRAP/import.css"; body { background: url(TRAP/background.png) }</style>
<img src="TRAP/picture.png" onerror="document.title = 'ran'"><iframe src="TRAP/frame"></iframe>
<svg onload="document.title = 'ran'"><image href="TRAP/svg.png"/><script>document.title = 'ran'</script></svg>
<object data="TRAP/object"></object><embed src="TRAP/embed"><video src="TRAP/video" autoplay></video>
<form id="f" action="TRAP/form"><input autofocus onfocus="document.title = 'ran'"></form>
<meta http-equiv="refresh" content="0;url=TRAP/refresh"><p>The end of what is hostile</p>"""
#: The same with nothing but elements that pages have.
QUIET = """<style>@import "TRAP/import.css"; body { background: url(TRAP/background.png) }</style>
<img src="TRAP/picture.png" onerror="document.title = 'ran'"><meta http-equiv="refresh" content="0;url=TRAP/refresh">
<details open ontoggle="document.title = 'ran'"><summary>The end of what is hostile</summary></details>"""
#: A job may write its page itself: the program that executes the notebook is killed, so that ours is not made.
OWN_PAGE = """import os, signal
words = open(f"/proc/{os.getppid()}/cmdline").read().split(chr(0))
place = words[words.index("--output") + 1].removesuffix(".ipynb") + ".html"
open(place, "w").write("<!doctype html><title>quiet</title>" + PAGE)
os.kill(os.getppid(), signal.SIGKILL)"""


@contextmanager
def trap() -> Generator[tuple[str, list[bytes]]]:
    """An address of another origin, and whatever connects to it."""
    caught: list[bytes] = []

    class Catch(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            caught.append(b"connected")
            caught.append(self.request.recv(4096))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Catch) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", caught
        server.shutdown()
        thread.join()


def write(file: Path, *cells: str) -> None:
    """A notebook of these cells; those that begin with # are text."""
    made: list[dict[str, Any]] = [
        {"cell_type": "markdown", "metadata": {}, "source": source}
        if source.startswith("#")
        else {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
        for source in cells
    ]
    file.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": made}))


def run(it: Installation, notebook: Path, name: str, environment: str) -> str:
    """Its job to the end; the link to its page."""
    where = ("-n", name, "--environment", f"azureml:{environment}@latest")
    it.um("notebook", "run", str(notebook), *where, within_s=FETCHED_S)
    shown = it.um("notebook", "show", name, "--no-browser")
    assert shown.returncode == 0, shown.stderr + it.um("job", "explain", name).stdout
    return link_in(shown.stdout)


def look_at_what_is_to_be_read(screen: Screen) -> None:
    page = screen.page
    assert page.get_by_role("heading", name="What came of it").is_visible()
    assert page.get_by_role("table").get_by_role("cell", name="55.5").is_visible()
    widths = [picture.bounding_box() for picture in page.locator("img[src]").all()]
    assert [box is not None and box["width"] > 100 for box in widths] == [True, True], "the plot and the vector picture"
    assert page.locator(".ansi-red-fg", has_text="ZeroDivisionError").first.is_visible()
    assert page.get_by_text("The end of what is hostile").first.is_visible()
    screen.picture("notebook-page")


def test_a_page_shows_plots_and_tables_and_nothing_in_it_acts(cache: Path, tmp_path: Path):
    with installed(cache) as it, trap() as (elsewhere, caught), browsing(tmp_path) as screen:
        it.up()
        hostile, quiet = (text.replace("TRAP", elsewhere) for text in (HOSTILE, QUIET))
        folder = tmp_path / "work"
        folder.mkdir()
        text = f"# What came of it\n\nDepth **4** is best, [as before](javascript:document.title='ran').\n\n{hostile}"
        write(folder / "seen.ipynb", text, PLOT, TABLE, VECTOR, f"display(HTML({hostile!r}))", "1 / 0")
        write(folder / "own.ipynb", f"PAGE = {quiet!r}", OWN_PAGE)
        own = f"http://127.0.0.1:{it.port + 1}"

        screen.page.goto(run(it, folder / "seen.ipynb", "seen", "sklearn"))
        screen.page.wait_for_url(f"{own}/pages/default/jobs/seen")
        look_at_what_is_to_be_read(screen)
        assert screen.page.title() == "seen.ipynb"

        screen.page.goto(run(it, folder / "own.ipynb", "own", "minimal"))
        screen.page.wait_for_timeout(WAITS_MS)
        assert screen.page.url == f"{own}/pages/default/jobs/own"
        assert screen.page.get_by_text("The end of what is hostile").is_visible(), "it is the job's own page"
        assert screen.page.title() == "quiet"
        assert caught == [], "something was asked for"

        (folder / "open.html").write_text(quiet)
        screen.page.goto(f"file://{folder}/open.html", wait_until="commit")
        screen.page.wait_for_timeout(WAITS_MS)
        assert caught, "nobody would have noticed"
