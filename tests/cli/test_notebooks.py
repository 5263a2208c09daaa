"""`um notebook run` against the real control plane; the cells are executed by a real kernel."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Um

from ultramarine.cli.command import FAILED, NOT_FOUND, OK, USAGE

Cell = tuple[str, list[str]]
WITHIN_S = 60.0


def notebook(*cells: Cell, language: str = "python", picture: str = "") -> str:
    """A notebook's text: of each cell its source and tags; at last a text with a picture."""
    made: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"c{at}",
            "metadata": {"tags": tags},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for at, (source, tags) in enumerate(cells)
    ]
    if picture:
        made.append({"cell_type": "markdown", "id": "picture", "metadata": {}, "source": f"![]({picture})"})
    spec = {"name": "theirs", "display_name": "Theirs", "language": language}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": spec}, "cells": made})


@pytest.fixture
def folder(signed_in: Path) -> Path:
    (signed_in / "work").mkdir()
    (signed_in / "work" / "helper.py").write_text("def twice(x):\n    return 2 * x\n")
    return signed_in / "work"


def run(um: Um, file: Path, name: str, *more: str) -> Any:
    return um("notebook", "run", str(file), "--environment", "azureml:minimal@latest", "-n", name, *more)


def executed(um: Um, folder: Path, name: str) -> Any:
    assert um("job", "download", "-n", name, "-p", str(folder / "got"), "--output-name", "notebook").code == OK
    [found] = (folder / "got").rglob("*.ipynb")
    return json.loads(found.read_text())


def shown(um: Um, folder: Path, name: str) -> str:
    """Its page."""
    assert um("notebook", "show", name, "-f", str(folder / "page.html")).code == OK
    return (folder / "page.html").read_text()


def test_it_is_executed_with_its_parameters_and_kept(um: Um, folder: Path):
    cells: tuple[Cell, ...] = (
        ("depth = 3\nname = 'a'", ["parameters"]),
        ("from helper import twice\nprint('depth', twice(depth), name)", []),
        ("depth", []),
    )
    (folder / "train.ipynb").write_text(notebook(*cells))
    done = run(um, folder / "train.ipynb", "executed", "--param", "depth=4", "-p", "name=b c")
    assert (done.code, done.out) == (OK, "depth 8 b c\n4\n"), done.err
    found = executed(um, folder, "executed")["cells"]
    assert [cell["metadata"]["tags"] for cell in found] == [["parameters"], ["injected-parameters"], [], []]
    assert "".join(found[1]["source"]) == "depth = 4\nname = 'b c'"
    assert [cell["execution_count"] for cell in found] == [1, 2, 3, 4]
    assert found[3]["outputs"][0]["data"]["text/plain"] in ("4", ["4"])
    assert "um notebook show -n executed" in done.err
    assert ">depth 8 b c\n</pre>" in shown(um, folder, "executed")
    link = um("notebook", "show", "executed", "--no-browser")
    assert (link.code, "/login?code=" in link.out) == (OK, True)


def test_a_cell_that_fails_fails_the_job_and_shows_how_far_it_came(um: Um, folder: Path):
    (folder / "bad.ipynb").write_text(notebook(("print('one')", []), ("1 / 0", []), ("print('three')", [])))
    done = run(um, folder / "bad.ipynb", "bad-cell")
    assert done.code == FAILED
    assert "one" in done.out
    assert "three" not in done.out
    assert "ZeroDivisionError" in done.out + done.err
    found = executed(um, folder, "bad-cell")["cells"]
    assert [len(cell["outputs"]) for cell in found] == [1, 1, 0]
    assert 'class="ansi-red-fg">ZeroDivisionError' in shown(um, folder, "bad-cell")


def test_a_kernel_that_dies_fails_the_job(um: Um, folder: Path):
    (folder / "dies.ipynb").write_text(notebook(("print('one')", []), ("import os; os._exit(3)", [])))
    done = run(um, folder / "dies.ipynb", "dies")
    assert done.code == FAILED
    assert "The kernel died." in done.out + done.err
    assert ">one\n</pre>" in shown(um, folder, "dies")


def test_a_page_that_cannot_be_made_fails_no_job_and_the_log_says_why(um: Um, folder: Path):
    (folder / "odd.ipynb").write_text(notebook(("print('one')", []), picture="attachment:that-is-not-there.png"))
    done = run(um, folder / "odd.ipynb", "odd")
    assert done.code == OK
    assert "There is no page of the notebook: " in done.out + done.err
    assert "missing attachment" in done.out + done.err
    refused = um("notebook", "show", "odd", "-f", "page.html")
    assert refused.code == NOT_FOUND
    assert "um job download -n odd --output-name notebook" in refused.err


def test_what_has_no_page_and_a_file_that_cannot_be_written_are_said(um: Um, folder: Path):
    assert um("notebook", "show", "nowhere").code == NOT_FOUND
    (folder / "short.ipynb").write_text(notebook(("1", [])))
    assert run(um, folder / "short.ipynb", "short").code == OK
    refused = um("notebook", "show", "short", "-f", str(folder / "no-folder" / "page.html"))
    assert (refused.code, "cannot be written: No such file" in refused.err) == (USAGE, True)


def test_a_run_that_is_killed_leaves_no_folder_of_its_kernel_behind(um: Um, folder: Path):
    cells: tuple[Cell, ...] = (
        ("from ipykernel.connect import get_connection_file\nprint(get_connection_file())", []),
        ("import os, signal\nfor one in (os.getppid(), os.getpid()): os.kill(one, signal.SIGKILL)", []),
    )
    (folder / "killed.ipynb").write_text(notebook(*cells))
    done = run(um, folder / "killed.ipynb", "killed")
    assert done.code == FAILED
    [place] = [Path(line) for line in done.out.splitlines() if line.endswith("kernel.json")]
    until(lambda: not place.parent.exists(), "the run's folders are deleted")


def test_one_that_is_canceled_shows_how_far_it_came(um: Um, folder: Path):
    cells: tuple[Cell, ...] = (("print('one')", []), ("import time; print('waits'); time.sleep(600)", []))
    (folder / "long.ipynb").write_text(notebook(*cells))
    assert run(um, folder / "long.ipynb", "stopped", "--no-wait").code == OK
    until(lambda: "waits" in log(um, folder, "stopped"), "its second cell runs")
    assert um("job", "cancel", "-n", "stopped").code == OK
    until(lambda: '"Canceled"' in um("job", "show", "-n", "stopped", "-o", "json").out, "it has ended")
    found = executed(um, folder, "stopped")["cells"]
    assert ["".join(cell["outputs"][0]["text"]) for cell in found] == ["one\n", "waits\n"]
    assert ">waits\n</pre>" in shown(um, folder, "stopped")


def log(um: Um, folder: Path, name: str) -> str:
    """What it has printed so far."""
    um("job", "download", "-n", name, "-p", str(folder / "logs"))
    return "".join(file.read_text() for file in (folder / "logs").rglob("std_log.txt"))


def until(so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not so():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s: {what}"
        time.sleep(0.2)


def test_what_is_no_notebook_or_for_another_language_is_refused_in_words(um: Um, folder: Path):
    (folder / "broken.ipynb").write_text('{"cells": [')
    (folder / "r.ipynb").write_text(notebook(("1", []), language="R"))
    broken, other = run(um, folder / "broken.ipynb", "broken"), run(um, folder / "r.ipynb", "other-language")
    assert (broken.code, other.code) == (FAILED, FAILED)
    assert "broken.ipynb cannot be read" in broken.out + broken.err
    assert "is for a R kernel" in other.out + other.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.ipynb",), "none.ipynb is no file"),
        (("work/train.ipynb", "--param", "depth"), "--param depth: it is no NAME=VALUE"),
        (("work/train.ipynb", "--param", "a b=1"), "--param a b=1: it is no NAME=VALUE"),
        (("work/train.ipynb", "--param", "a=[1, 2]"), "parameters.a"),
        (("work/helper.py",), "notebook: it is the path of a .ipynb file below code"),
        ((), "needs --file or -f"),
    ],
)
def test_what_is_typed_wrong_is_said(um: Um, folder: Path, words: tuple[str, ...], said: str):
    (folder / "train.ipynb").write_text(notebook(("1", [])))
    refused = um("notebook", "run", *words)
    assert refused.code == USAGE
    assert said in refused.err
