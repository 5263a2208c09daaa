"""MLflow models without a script: real models in their own environment, checked against what they say themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.serving.scoring import servers
from tests.serving.scoring.conftest import StartModel
from tests.serving.scoring.environment import ROOT, ModelEnvironment

Cancer = dict[str, Any]


def split(cancer: Cancer, rows: slice) -> dict[str, Any]:
    return {"columns": cancer["columns"], "data": cancer["rows"][rows]}


@pytest.mark.parametrize("name", ["forest", "linear", "skops", "unsigned", "xgboost"])
def test_a_classifier_answers_what_it_says_itself(start_model: StartModel, cancer: Cancer, name: str):
    answer = start_model(name).post("/score", {"input_data": split(cancer, slice(None))})
    assert (answer.status, answer.json) == (200, cancer["expected"][name])


@pytest.mark.parametrize("name", ["probabilities", "lightgbm"])
def test_figures_are_what_the_model_says_itself(start_model: StartModel, cancer: Cancer, name: str):
    answer = start_model(name).post("/score", {"input_data": split(cancer, slice(None))})
    expected = cancer["expected"][name]
    assert answer.json == [pytest.approx(value, rel=1e-9) for value in expected]


def test_an_onnx_model_answers_records_by_its_outputs(start_model: StartModel, cancer: Cancer):
    answer = start_model("onnx").post("/score", {"input_data": split(cancer, slice(0, 50))})
    assert [record["label"] for record in answer.json] == cancer["expected"]["onnx"][:50]
    assert all(sum(record["probabilities"]) == pytest.approx(1, abs=1e-5) for record in answer.json)


def test_each_kind_of_body_gives_the_same_answer(start_model: StartModel, cancer: Cancer):
    server = start_model("forest")
    table = split(cancer, slice(0, 3))
    records = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    by_column = {name: [row[place] for row in table["data"]] for place, name in enumerate(table["columns"])}
    bodies = [
        {"input_data": {**table, "index": [0, 1, 2]}},
        {"input_data": table["data"]},
        {"dataframe_split": table},
        {"dataframe_records": records},
        {"instances": records},
        {"instances": table["data"]},
        {"inputs": by_column},
        {"inputs": table["data"]},
    ]
    expected = cancer["expected"]["forest"][:3]
    assert [server.post("/score", body).json for body in bodies] == [expected] * len(bodies)
    assert [server.post("/invocations", body).json for body in bodies] == [{"predictions": expected}] * len(bodies)


def test_columns_in_another_order_and_extra_ones_do_no_harm(start_model: StartModel, cancer: Cancer):
    table = split(cancer, slice(0, 20))
    turned = {
        "columns": [*reversed(table["columns"]), "more"],
        "data": [[*reversed(row), "x"] for row in table["data"]],
    }
    answer = start_model("forest").post("/score", {"input_data": turned})
    assert answer.json == cancer["expected"]["forest"][:20]


def test_a_model_that_picks_text_columns_by_name_is_served(start_model: StartModel):
    server = start_model("mixed")
    table = {"columns": ["site", "radius"], "data": [["left", 9.0], ["right", 25.0]]}
    assert server.post("/score", {"input_data": table}).json == [1, 0]
    refused = server.post("/score", {"input_data": {"columns": ["site", "radius"], "data": [[3, 9.0]]}})
    assert (refused.status, refused.json["detail"]) == (400, "Column 'site' is of type string: 3 is no string.")


@pytest.mark.parametrize("name", ["forest", "linear", "xgboost", "lightgbm", "pyfunc"])
def test_many_clients_at_once_each_get_their_own_answer(start_model: StartModel, cancer: Cancer, name: str):
    server = start_model(name)
    if name == "pyfunc":
        bodies = [{"dataframe_split": {"columns": ["a"], "data": [[0], [number]]}} for number in range(60)]
        expected = [[-number / 2, number / 2] for number in range(60)]
    else:
        bodies = [{"input_data": split(cancer, slice(number, number + 1))} for number in range(60)]
        expected = [[value] for value in cancer["expected"][name][:60]]

    def ask(body: dict[str, Any]) -> Any:
        return server.post("/score", body).json

    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(ask, bodies))
    assert answers == [pytest.approx(value) for value in expected]


def test_one_bad_row_among_many_clients_fails_alone(start_model: StartModel, cancer: Cancer):
    server = start_model("linear")

    def ask(number: int) -> int:
        row = list(cancer["rows"][number])
        if number % 5 == 0:
            row[0] = None  # becomes NaN, which this model refuses
        body = {"input_data": {"columns": cancer["columns"], "data": [row]}}
        return server.post("/score", body).status

    with ThreadPoolExecutor(16) as clients:
        assert list(clients.map(ask, range(50))) == [400 if number % 5 == 0 else 200 for number in range(50)]


def test_what_is_wrong_with_a_body_is_said(start_model: StartModel, cancer: Cancer):
    server = start_model("forest")
    table = split(cancer, slice(0, 1))

    def refusal(body: Any) -> str:
        answer = server.post("/score", body)
        assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
        return answer.json["detail"]

    fewer = {"columns": table["columns"][1:], "data": [row[1:] for row in table["data"]]}
    assert "Missing column: mean radius." in refusal({"input_data": fewer})
    assert "Rows have 2 values where the model takes 30" in refusal({"input_data": [[1, 2]]})
    words = {"columns": table["columns"], "data": [["many", *table["data"][0][1:]]]}
    assert refusal({"input_data": words}) == "Column 'mean radius' is of type double: 'many' is no number."
    assert "params" in refusal({"input_data": table, "params": {"threshold": 0.5}})
    assert "not JSON" in server.ask("POST", "/score", b"{", {"content-type": "application/json"}).json["detail"]
    assert "not UTF-8" in server.ask("POST", "/score", b"\xff", {"content-type": "application/json"}).json["detail"]


def test_no_rows_give_no_predictions_or_a_400(start_model: StartModel, cancer: Cancer):
    answer = start_model("forest").post("/score", {"input_data": split(cancer, slice(0, 0))})
    assert answer.status == 400, "scikit-learn refuses an empty table"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON;charset=UTF-8", 200),
        ("", 200),
        ("application/json; charset=latin-1", 415),
        ("text/csv", 415),
        ("application/x-www-form-urlencoded", 415),
    ],
)
def test_only_known_content_types_are_read(start_model: StartModel, cancer: Cancer, content_type: str, status: int):
    body = json.dumps({"input_data": split(cancer, slice(0, 1))}).encode()
    headers = {"content-type": content_type} if content_type else {}
    answer = start_model("forest").ask("POST", "/score", body, headers)
    assert answer.status == status
    if status == 415:
        assert answer.json["hint"] == "Send one of: application/json (UTF-8)."


def test_a_python_function_gets_its_params(start_model: StartModel):
    body = {"dataframe_split": {"columns": ["a"], "data": [[0], [4]]}}
    server = start_model("pyfunc")
    assert server.post("/invocations", body).json == {"predictions": [-2, 2]}
    assert server.post("/invocations", {**body, "params": {"times": 3}}).json == {"predictions": [-6, 6]}


def test_the_signature_is_in_the_api_description(start_model: StartModel, cancer: Cancer):
    described = start_model("forest").get("/swagger.json").json
    table = described["components"]["schemas"]["ServiceInput"]["properties"]["input_data"]["properties"]
    assert table["columns"]["enum"][0] == cancer["columns"]
    assert (table["data"]["items"]["minItems"], table["data"]["items"]["items"]["type"]) == (30, "number")
    typed = start_model("mixed").get("/swagger.json").json["components"]["schemas"]["ServiceInput"]
    record = typed["properties"]["input_data"]["items"]["properties"]
    assert [record["radius"]["type"], record["site"]["type"]] == ["number", "string"]


def test_common_flavours_are_loaded_without_importing_mlflow(models: ModelEnvironment):
    names = ["forest", "skops", "xgboost", "lightgbm", "onnx"]
    look = "import sys; from pathlib import Path; from ultramarine_serving.scoring.model import load; "
    look += f"loaded = [load(Path({str(models.models)!r}) / name, flavor='auto').flavor for name in {names}]; "
    look += "print(loaded, 'mlflow' in sys.modules)"
    environment = {"PYTHONPATH": f"src{os.pathsep}{models.site}", "PATH": os.environ["PATH"]}
    shown = subprocess.run(
        [str(models.python), "-c", look], capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )
    assert shown.stdout.strip() == "['sklearn', 'sklearn', 'xgboost', 'lightgbm', 'onnx'] False", shown.stderr


def failed_log(serving_zip: Path, models: ModelEnvironment, model: Path, folder: Path, *options: str) -> list[str]:
    """The log of a server that does not start, as lines."""
    command = [str(models.python), str(serving_zip), "--site", str(models.site), "--model-dir", str(model), *options]
    server = servers.start(command, folder, {"PATH": os.environ["PATH"]})
    assert server.wait() == 3
    return server.log.splitlines()


def test_a_folder_without_a_model_is_refused(serving_zip: Path, models: ModelEnvironment, tmp_path: Path):
    last = failed_log(serving_zip, models, tmp_path, tmp_path)[-1]
    assert "holds no MLmodel file. Deploy an MLflow model, or give a score.py with --code." in last


def test_a_broken_model_file_says_with_what_it_was_saved(serving_zip: Path, models: ModelEnvironment, tmp_path: Path):
    broken = shutil.copytree(models.models / "forest", tmp_path / "m")
    content = (broken / "model.pkl").read_bytes()
    (broken / "model.pkl").write_bytes(content[: len(content) // 2])
    last = failed_log(serving_zip, models, broken, tmp_path)[-1]
    assert "model.pkl could not be loaded:" in last
    assert "It was saved with" in last


def test_a_library_that_is_missing_is_named(serving_zip: Path, models: ModelEnvironment, tmp_path: Path):
    broken = shutil.copytree(models.models / "forest", tmp_path / "m")
    # The first letters of a pickle's global: the module that the saved object needs.
    content = (broken / "model.pkl").read_bytes().replace(b"sklearn.ensemble._forest", b"no_such.ensemble._forest")
    (broken / "model.pkl").write_bytes(content)
    last = failed_log(serving_zip, models, broken, tmp_path)[-1]
    assert "ModuleNotFoundError: No module named 'no_such'" in last
    assert "Use the environment that was saved with the model" in last


SPOIL = """
import pickle, sys
from operator import methodcaller
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

with open(sys.argv[1], "rb") as stream:
    model = pickle.load(stream)
with open(sys.argv[1], "wb") as stream:
    pickle.dump(make_pipeline(FunctionTransformer(methodcaller("no_such_method")), model), stream)
"""


def test_a_model_that_fails_says_whose_request_it_was(
    serving_zip: Path, models: ModelEnvironment, tmp_path: Path, cancer: Cancer, started: list[servers.Server]
):
    spoilt = shutil.copytree(models.models / "forest", tmp_path / "m")
    subprocess.run([str(models.python), "-c", SPOIL, str(spoilt / "model.pkl")], check=True)
    for example in ("input_example.json", "serving_input_example.json"):
        (spoilt / example).unlink()
    command = [str(models.python), str(serving_zip), "--site", str(models.site), "--model-dir", str(spoilt)]
    with tempfile.TemporaryDirectory(prefix="um-spoilt-") as made:
        server = servers.start(command, Path(made), {"PATH": os.environ["PATH"]})
        started.append(server)
        server.wait_until_ready()
        body = json.dumps({"input_data": split(cancer, slice(1))}).encode()
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        headers = {"content-type": "application/json", "x-request-id": "req-1", "traceparent": trace}
        assert server.ask("POST", "/score", body, headers).status == 500
        assert f"The model failed (x-request-id req-1, traceparent {trace}):" in server.log
        server.process.kill()
