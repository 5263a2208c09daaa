"""A forest whose trees are asked right away answers, and refuses, as it does itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.serving.scoring.environment import ROOT, ModelEnvironment

PROGRAM = Path(__file__).with_name("forests_directly.py")


@pytest.fixture(scope="module")
def seen(models: ModelEnvironment) -> dict[str, Any]:
    done = subprocess.run(
        [str(models.python), str(PROGRAM), str(models.estimators)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "name", ["cancer_forest", "cancer_shares", "digits_extra", "diabetes_forest", "diabetes_holes"]
)
def test_a_forest_called_through_its_trees_answers_and_refuses_as_its_own_predict(seen: dict[str, Any], name: str):
    assert seen[name]["is_asked"]
    assert seen[name]["is_equal"]
    assert seen[name]["refused"] >= 4


@pytest.mark.parametrize("name", ["diabetes_two", "cancer_linear"])
def test_what_is_no_forest_of_one_output_is_called_as_it_is(seen: dict[str, Any], name: str):
    assert not seen[name]["is_asked"]


def test_a_forest_whose_trees_would_answer_otherwise_is_called_as_it_is(seen: dict[str, Any]):
    assert not seen["otherwise"]
