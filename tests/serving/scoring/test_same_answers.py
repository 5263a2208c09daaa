"""However many ask at once, an answer is what the model itself says of that row; also in its ONNX form."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.scoring.conftest import StartModel, StartOnnx
from tests.serving.scoring.environment import ModelEnvironment
from tests.serving.scoring.servers import Server

Ask = Callable[[list[list[Any]]], list[Any]]

MODELS = (
    "cancer_forest", "cancer_shallow", "cancer_shares", "cancer_linear", "cancer_odds",
    "iris_named", "iris_odds", "iris_whole", "iris_ridge", "digits_extra", "digits_network",
    "diabetes_forest", "diabetes_two", "diabetes_ridge", "diabetes_network", "diabetes_holes",
    "diabetes_boosted", "diabetes_quantile", "cancer_boosted", "cancer_boosted_odds", "iris_boosted",
    "iris_boosted_odds",
)  # fmt: skip
AS_THEY_ARE = (
    "cancer_forest", "cancer_shares", "cancer_odds", "iris_named", "digits_extra", "diabetes_forest", "diabetes_ridge",
    "diabetes_histogram",
)  # fmt: skip


@pytest.fixture(scope="session")
def ask_directly(models: ModelEnvironment) -> Iterator[Callable[[str], Ask]]:
    """The model itself, in a process of its own, by name."""
    running: dict[str, subprocess.Popen[str]] = {}
    program = Path(__file__).with_name("oracle.py")

    def of(name: str) -> Ask:
        if name not in running:
            command = [str(models.python), "-W", "ignore", str(program), str(models.estimators / name)]
            running[name] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def ask(rows: list[list[Any]]) -> list[Any]:
            process = running[name]
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(rows) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        return ask

    yield of
    for process in running.values():
        with process:
            process.kill()


def rows_between(rows: list[list[Any]], dice: Random) -> list[list[Any]]:
    """Rows on lines through rows of the data, those rows too."""
    made: list[list[Any]] = []
    for _ in range(dice.randint(1, 64)):
        first, second = dice.choice(rows), dice.choice(rows)
        share = dice.choice([0.0, 0.5, 1 / 3, 1.0, dice.uniform(-1, 2), dice.uniform(-1e6, 1e6)])
        made.append([_between(*cells, share) for cells in zip(first, second, strict=True)])
    return made


def _between(first: Any, second: Any, share: float) -> Any:
    if first is None or first != first:  # JSON has no NaN
        return None
    if isinstance(first, int) or second is None or second != second:
        return first
    return first + share * (second - first)


def _ask_server(server: Server, columns: list[str] | None, rows: list[list[Any]], clients: int) -> list[Any]:
    """Each row in a request of its own, so many at once."""

    def ask(row: list[Any]) -> Any:
        body = {"dataframe_split": {"columns": columns, "data": [row]}} if columns else {"inputs": [row]}
        answer = server.post("/score", body)
        assert answer.status == 200, answer.body
        return answer.json[0]

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(ask, rows))


def _check(server: Server, ask: Ask, folder: Path, *, close: float) -> None:
    data = json.loads((folder / "data.json").read_text())

    @settings(max_examples=12, deadline=None)
    @given(dice=st.randoms(use_true_random=False, note_method_calls=False), clients=st.sampled_from([1, 4, 16, 64]))
    def holds(dice: Random, clients: int) -> None:
        rows = rows_between(data["rows"], Random(dice.getrandbits(32)))
        found = _ask_server(server, data["columns"], rows, clients)
        assert [one for one in zip(found, ask(rows), strict=True) if not _is_same(*one, close=close)] == []

    holds()


def _is_same(found: Any, expected: Any, *, close: float) -> bool:
    if isinstance(expected, list):
        parts = zip(cast("list[Any]", found), cast("list[Any]", expected), strict=True)
        return all(_is_same(*one, close=close) for one in parts)
    return (
        math.isclose(found, expected, rel_tol=close, abs_tol=close)
        if isinstance(expected, float)
        else found == expected
    )


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_requests_that_share_calls_get_what_the_model_says_of_each(
    start_model: StartModel, ask_directly: Callable[[str], Ask], models: ModelEnvironment, name: str
):
    _check(start_model(name), ask_directly(name), models.estimators / name, close=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_onnx_form_answers_as_the_original(
    start_onnx: StartOnnx, ask_directly: Callable[[str], Ask], models: ModelEnvironment, name: str
):
    server = start_onnx(name).wait_until_ready().wait_until_it_says("Serves the ONNX form")
    _check(server, ask_directly(name), models.estimators / name, close=1e-5)
