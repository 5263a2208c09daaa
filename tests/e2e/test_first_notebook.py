"""Who follows the page "Your first notebook", click by click in a real browser, gets through."""

import json
import sys
from pathlib import Path

import pytest
from tests.docs.tutorial import SHOWN, blocks, follow

from .browser import Lab, Screen, browsing, link_in, needs_chromium
from .installation import Installation, installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), needs_chromium]
PAGE = "your-first-notebook.md"
KERNEL = "sklearn:"  #: what the tile begins with that the page says to click
FETCHED_S = 900  #: an environment, the first time


class Reader:
    """Does what the page says beside its blocks: where to click, and what is to be seen."""

    def __init__(self, it: Installation, screen: Screen, folder: Path) -> None:
        self._it, self._screen, self._folder = it, screen, folder
        self._lab = Lab(screen)
        self._variables = it.environment | {
            "PATH": f"{Path(sys.executable).parent}:{it.environment['PATH']}",
            "ULTRAMARINE_HOME": str(it.home),
            "ULTRAMARINE_PORT": str(it.port),
        }
        self._shown = ""  #: by the last cell

    def follow(self) -> None:
        for number, block in enumerate(blocks(PAGE), 1):
            if block.is_cell:
                self._shown = self._lab.run(block.text, within_s=FETCHED_S)
                self._screen.picture(f"{number:02}-cell")
            elif block.language == SHOWN:
                assert block.text.strip() in self._shown, block
            else:
                if "um notebook run" in block.text:
                    self._take_along("diabetes.ipynb", into="desk")
                self._look(block.text, follow(block, self._folder, self._variables), number)

    def _look(self, typed: str, printed: str, number: int) -> None:
        """In the browser, after a command that is about it."""
        if "um up" in typed:
            self._it.epoch = self._it.workspace.installation.status()["epoch"]
        if "um compute connect" in typed:
            self._lab.enter(link_in(printed))
            self._screen.picture(f"{number:02}-launcher")
            self._check_launcher()
            self._lab.new_notebook(KERNEL)
        if "um open mlflow" in typed:
            self._look_at_mlflow(link_in(printed), number)

    def _check_launcher(self) -> None:
        offered = self._lab.kernels()
        assert len([name for name in offered if "jupyter" in name]) == 1, offered
        assert offered[0].startswith(KERNEL), "what a newcomer needs comes first"
        assert self._lab.notifications() == []

    def _look_at_mlflow(self, link: str, number: int) -> None:
        with self._screen.beside() as other:
            other.page.goto(link)
            other.page.get_by_text("Default", exact=True).first.wait_for()
            other.picture(f"{number:02}-mlflow")

    def _take_along(self, name: str, *, into: str) -> None:
        assert self._lab.pictures_in_cells() == 1, "the plot is there"
        self._lab.save_as(name)
        self._screen.picture("saved")
        self._lab.download(self._folder / into / name)


def test_a_reader_gets_from_nothing_to_a_notebook_that_ran_as_a_job(cache: Path, tmp_path: Path):
    folder = tmp_path / "reader"
    folder.mkdir()
    with installed(cache) as it, browsing(tmp_path) as screen:
        Reader(it, screen, folder).follow()
        executed = json.loads(next(folder.joinpath("results").rglob("*.ipynb")).read_text())
        shown = [text for cell in executed["cells"] for out in cell.get("outputs", ()) for text in out.get("text", ())]
        assert [line for line in shown if line.startswith("mean error")], shown
        assert it.workspace.computes.get("desk")["state"] == "Stopped"
        assert screen.hosts <= {f"127.0.0.1:{it.port + 1}", f"127.0.0.1:{it.port + 2}"}, "nobody else is asked"
        assert screen.errors == []
