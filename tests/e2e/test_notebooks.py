"""Notebooks as jobs: they run with other values in the job's environment, and what they came to is kept, also where
they fail or are stopped."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from .installation import Installation, installed, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
READY_S_MAX = 300  #: on a new machine scikit-learn is downloaded first
TRAINING = (
    "depth = 1",
    "from sklearn.datasets import load_breast_cancer\n"
    "from sklearn.tree import DecisionTreeClassifier\n"
    "model = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(*load_breast_cancer(return_X_y=True))\n"
    "model.get_depth()",
)


@pytest.fixture(scope="module")
def it(cache: Path) -> Iterator[Installation]:
    with installed(cache) as made:
        made.up()
        yield made


def notebook(folder: Path, *cells: str) -> Path:
    """Its first cell is that of its parameters."""

    def cell(source: str, tags: Sequence[str] = ()) -> dict[str, Any]:
        about: dict[str, Any] = {"cell_type": "code", "execution_count": None, "outputs": []}
        return {**about, "metadata": {"tags": list(tags)}, "source": source}

    first, *others = cells
    made: dict[str, Any] = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}}
    path = folder / "train.ipynb"
    path.write_text(json.dumps({**made, "cells": [cell(first, ["parameters"]), *map(cell, others)]}))
    return path


def run(it: Installation, path: Path, name: str, *more: str) -> int:
    return it.um("notebook", "run", str(path), "--name", name, *more, within_s=READY_S_MAX).returncode


def texts(it: Installation, name: str, folder: Path) -> list[str]:
    """What the cells of the notebook that was kept of it have shown, in their order."""
    done = it.um("job", "download", "-n", name, "--output-name", "notebook", "-p", str(folder))
    assert done.returncode == 0, done.stderr
    (kept,) = folder.rglob("train.ipynb")
    cells: list[dict[str, Any]] = json.loads(kept.read_text())["cells"]
    return [_shown(cell["outputs"]) for cell in cells]


def _shown(outputs: Sequence[dict[str, Any]]) -> str:
    said = [each.get("text") or each.get("data", {}).get("text/plain") or each.get("evalue", "") for each in outputs]
    return "".join("".join(each) for each in said)


def sockets() -> set[Path]:
    """Folders of kernels' sockets."""
    return set(Path("/tmp").glob("um-kernel-*"))


def test_a_notebook_trains_with_the_value_that_was_given(it: Installation, tmp_path: Path) -> None:
    assert run(it, notebook(tmp_path, *TRAINING), "deeper", "--param", "depth=3") == 0
    assert texts(it, "deeper", tmp_path / "got") == ["", "", "3"]


def test_one_whose_cell_fails_shows_how_far_it_came(it: Installation, tmp_path: Path) -> None:
    path = notebook(tmp_path, "print('begun')", "1 / 0", "print('never')")
    assert run(it, path, "broken", "--environment", "azureml:minimal@latest") != 0
    assert it.workspace.jobs.get("broken")["status"] == "Failed"
    assert texts(it, "broken", tmp_path / "got") == ["begun\n", "division by zero", ""]


def test_one_that_is_canceled_shows_how_far_it_came_and_leaves_nothing_behind(it: Installation, tmp_path: Path) -> None:
    before = sockets()
    path = notebook(tmp_path, "print('begun')", "import time; print('waits', flush=True); time.sleep(600)")
    run(it, path, "stopped", "--environment", "azureml:minimal@latest", "--no-wait")
    until(lambda: "waits" in it.log("stopped", 1), "its second cell runs", seconds=READY_S_MAX)
    it.workspace.jobs.cancel("stopped")
    it.comes_to("stopped", "Canceled", within_s=60)
    assert texts(it, "stopped", tmp_path / "got")[0] == "begun\n"
    assert sockets() <= before
