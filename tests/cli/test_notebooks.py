"""`um notebook run` against the real control plane; the cells are executed by a real kernel."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Um

from ultramarine.cli.command import FAILED, OK, USAGE

Cell = tuple[str, list[str]]
WITHIN_S = 60.0


def notebook(*cells: Cell, language: str = "python") -> str:
    """A notebook's text: of each cell its source and tags."""
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


def test_a_cell_that_fails_fails_the_job_and_shows_how_far_it_came(um: Um, folder: Path):
    (folder / "bad.ipynb").write_text(notebook(("print('one')", []), ("1 / 0", []), ("print('three')", [])))
    done = run(um, folder / "bad.ipynb", "bad-cell")
    assert done.code == FAILED
    assert "one" in done.out
    assert "three" not in done.out
    assert "ZeroDivisionError" in done.out + done.err
    found = executed(um, folder, "bad-cell")["cells"]
    assert [len(cell["outputs"]) for cell in found] == [1, 1, 0]


def test_a_kernel_that_dies_fails_the_job(um: Um, folder: Path):
    (folder / "dies.ipynb").write_text(notebook(("print('one')", []), ("import os; os._exit(3)", [])))
    done = run(um, folder / "dies.ipynb", "dies")
    assert done.code == FAILED
    assert "The kernel died." in done.out + done.err


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
