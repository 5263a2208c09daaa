"""The ONNX form of a model: when it is made and taken, and that whatever goes wrong leaves the original serving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.serving.scoring.conftest import StartModel, StartOnnx
from tests.serving.scoring.environment import ModelEnvironment
from tests.serving.scoring.servers import Server, wait_for

IN_ONNX = "Serves the ONNX form"


def rows_of(models: ModelEnvironment, name: str) -> dict[str, Any]:
    data = json.loads((models.estimators / name / "data.json").read_text())
    return {"columns": data["columns"], "data": data["rows"]}


def has_sklearn(server: Server) -> bool:
    return "sklearn" in Path(f"/proc/{server.process.pid}/maps").read_text()


def children(server: Server) -> list[int]:
    pid = server.process.pid
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/maps").read_bytes()  # nobody may have asked how it ended
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_the_first_server_changes_over_and_the_next_begins_with_it_without_scikit_learn(
    start_onnx: StartOnnx, models: ModelEnvironment
):
    first = start_onnx("cancer_forest").wait_until_ready()
    assert has_sklearn(first)
    body = {"input_data": rows_of(models, "cancer_forest")}
    answers = [first.post("/score", body).json]
    first.wait_until_it_says(f"{IN_ONNX} of the RandomForestClassifier")
    answers.append(first.post("/score", body).json)
    second = start_onnx("cancer_forest").wait_until_ready()
    answers.append(second.post("/score", body).json)
    assert IN_ONNX in second.log
    assert not has_sklearn(second)
    assert answers == [answers[0]] * 3


def test_it_refuses_in_the_words_of_the_original(
    start_model: StartModel, start_onnx: StartOnnx, models: ModelEnvironment
):
    original = start_model("cancer_linear")
    other = start_onnx("cancer_linear").wait_until_ready().wait_until_it_says(IN_ONNX)
    table = rows_of(models, "cancer_linear")
    for odd in (None, "x", 1e308, [1]):
        row = [odd, *table["data"][0][1:]]
        body = {"input_data": {"columns": table["columns"], "data": [row]}}
        assert (other.post("/score", body).status, other.post("/score", body).body) == (
            original.post("/score", body).status,
            original.post("/score", body).body,
        )


def test_a_deployment_can_turn_batching_off(start_model: StartModel):
    assert "one request a call" in start_model("cancer_linear", "--max-batch-rows", "1").log


def test_a_model_without_such_a_form_goes_on_and_it_is_said_why(start_onnx: StartOnnx, models: ModelEnvironment):
    why = "its ONNX form is not chosen: a HistGradientBoostingRegressor has no ONNX form here that answers alike"
    server = start_onnx("diabetes_histogram").wait_until_ready().wait_until_it_says(why)
    assert len(server.post("/score", {"input_data": rows_of(models, "diabetes_histogram")}).json) == 442
    again = start_onnx("diabetes_histogram").wait_until_ready()
    assert why in again.log
    assert children(again) == []


def test_an_exporter_that_crashes_leaves_the_original_serving(start_onnx: StartOnnx, tmp_path: Path):
    (tmp_path / "onnx.py").write_text("import os; os.write(2, b'bang'); os._exit(9)")
    server = start_onnx("iris_named", site=tmp_path).wait_until_ready()
    server.wait_until_it_says("Serves the original: its export to ONNX ended with 9: bang")
    assert server.post("/score", {"inputs": [[5.1, 3.5, 1.4, 0.2]]}).json == ["setosa"]
    assert [path for path in (tmp_path / "kept").iterdir() if path.is_dir()] == []


def test_an_exporter_that_hangs_leaves_the_original_serving_and_ends_with_the_server(
    start_onnx: StartOnnx, tmp_path: Path
):
    hangs = tmp_path / "hangs"
    (tmp_path / "onnx.py").write_text(f"import time; open({str(hangs)!r}, 'w'); time.sleep(1000)")
    server = start_onnx("iris_named", site=tmp_path).wait_until_ready()
    wait_for(hangs.exists, words="the exporter to hang")
    assert server.post("/score", {"inputs": [[5.1, 3.5, 1.4, 0.2]]}).json == ["setosa"]
    (exporter,) = children(server)
    server.process.kill()
    wait_for(lambda: is_gone(exporter), words="the exporter to end")


def test_a_damaged_form_is_made_anew(start_onnx: StartOnnx, tmp_path: Path):
    start_onnx("iris_named").wait_until_it_says(IN_ONNX)
    (kept,) = (tmp_path / "kept").glob("*/model.onnx")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:100])
    server = start_onnx("iris_named").wait_until_ready()
    server.wait_until_it_says("its ONNX form failed: Damaged: model.onnx is not what was written")
    server.wait_until_it_says(IN_ONNX)
    assert kept.read_bytes() == whole


def test_two_servers_at_once_make_it_once(start_onnx: StartOnnx, tmp_path: Path):
    both = [start_onnx("iris_named"), start_onnx("iris_named")]
    for server in both:
        server.wait_until_it_says(IN_ONNX)
    assert len(list((tmp_path / "kept").glob("*/model.onnx"))) == 1
