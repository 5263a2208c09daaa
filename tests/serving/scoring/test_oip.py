"""The Open Inference Protocol: its cases over raw HTTP, and its own client."""

from __future__ import annotations

import json
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.serving.scoring import servers
from tests.serving.scoring.conftest import StartModel, StartScript
from tests.serving.scoring.environment import ModelEnvironment
from tests.serving.scoring.servers import Answer, Server, wait_for

Cancer = dict[str, Any]
CLIENT = Path(__file__).with_name("oip_client.py")
INFER = "/v2/models/model/infer"


def rows(cancer: Cancer, count: int, **more: Any) -> dict[str, Any]:
    """A request with all columns in one tensor."""
    data = [value for row in cancer["rows"][:count] for value in row]
    return {"inputs": [{"name": "rows", "shape": [count, 30], "datatype": "FP64", "data": data}], **more}


def of(answer: Answer) -> dict[str, Any]:
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer.body
    return answer.json


@pytest.fixture
def by_port(serving_zip: Path, models: ModelEnvironment, started: list[Server], tmp_path: Path):
    """Start a model's server on a port, which is where the protocol's client looks; its address."""

    def start(name: str) -> str:
        command = [str(models.python), str(serving_zip), "--site", str(models.site), "--name", "m", "--version", "3"]
        command += ["--model-dir", str(models.models / name)]
        server = servers.start(command, tmp_path, {"PATH": "/usr/bin"}, address="127.0.0.1:0")
        started.append(server)
        wait_for(lambda: "Ready." in server.log, words="the server to be ready", log=lambda: server.log)
        return server.port_address

    return start


def talked(models: ModelEnvironment, *arguments: str) -> dict[str, Any]:
    done = subprocess.run([str(models.python), str(CLIENT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_its_own_client_finds_every_datatype_back(by_port: Any, models: ModelEnvironment):
    seen = talked(models, by_port("echo"), "echo")
    assert [name for name, is_same in seen.items() if not is_same] == []
    assert len(seen) == 2 * 13 + 1


def test_its_own_client_gets_the_models_answers(by_port: Any, models: ModelEnvironment, cancer: Cancer):
    seen = talked(models, by_port("forest"), "forest", json.dumps(cancer["rows"][:5]))
    expected = cancer["expected"]["forest"][:5]
    assert (seen["by rows"], seen["by columns"]) == (expected, expected)
    assert (seen["live"], seen["ready"], seen["model ready"]) == (True, True, [True, True, False])
    assert (seen["server"]["name"], seen["server"]["extensions"]) == ("ultramarine", ["binary_tensor_data"])
    assert (seen["model"]["name"], seen["model"]["versions"], seen["model"]["platform"]) == (
        "m",
        ["3"],
        "mlflow-sklearn",
    )
    assert seen["model"]["inputs"][0] == {"name": "mean radius", "datatype": "FP64", "shape": [-1, 1]}
    assert seen["model"]["outputs"] == [{"name": "predict", "datatype": "INT64", "shape": [-1]}]
    assert [status for status, _ in seen["refused"]] == ["400", "404"]
    assert "Rows have 2 values where the model takes 30" in seen["refused"][0][1]


def test_the_id_the_names_and_the_shape_are_in_the_answer(start_model: StartModel, cancer: Cancer):
    answer = of(start_model("forest").post(INFER, rows(cancer, 3, id="42")))
    expected = {"name": "predict", "datatype": "INT64", "shape": [3], "data": cancer["expected"]["forest"][:3]}
    assert answer == {"model_name": "model", "model_version": "1", "id": "42", "outputs": [expected]}
    assert "id" not in of(start_model("forest").post("/v2/models/model/versions/1/infer", rows(cancer, 1)))


def test_an_output_of_several_numbers_a_row_keeps_its_shape(start_model: StartModel, cancer: Cancer):
    [output] = of(start_model("probabilities").post(INFER, rows(cancer, 2)))["outputs"]
    assert (output["datatype"], output["shape"]) == ("FP64", [2, 2])
    flat = [value for row in cancer["expected"]["probabilities"][:2] for value in row]
    assert output["data"] == pytest.approx(flat, rel=1e-9)


def test_a_model_of_several_outputs_gives_those_that_are_asked_for(start_model: StartModel, cancer: Cancer):
    server = start_model("onnx")
    every = of(server.post(INFER, rows(cancer, 2)))["outputs"]
    assert [(output["name"], output["shape"]) for output in every] == [("label", [2]), ("probabilities", [2, 2])]
    [label] = of(server.post(INFER, rows(cancer, 2, outputs=[{"name": "label"}])))["outputs"]
    assert label["data"] == cancer["expected"]["onnx"][:2]
    refused = server.post(INFER, rows(cancer, 2, outputs=[{"name": "labels"}]))
    assert (refused.status, "It has: label, probabilities." in refused.json["error"]) == (400, True)


@pytest.mark.parametrize("name", ["unsigned", "tensors", "linear", "skops", "xgboost"])
def test_models_of_each_kind_of_signature_answer_as_they_do_elsewhere(
    start_model: StartModel, cancer: Cancer, name: str
):
    [output] = of(start_model(name).post(INFER, rows(cancer, 20)))["outputs"]
    assert output["data"] == cancer["expected"][name if name in cancer["expected"] else "forest"][:20]


def test_columns_of_several_types_are_tensors_of_their_own(start_model: StartModel):
    server = start_model("mixed")
    radius = {"name": "radius", "shape": [2], "datatype": "FP32", "data": [20, 5]}
    site = {"name": "site", "shape": [2, 1], "datatype": "BYTES", "data": [["left"], ["right"]]}
    [output] = of(server.post(INFER, {"inputs": [site, radius]}))["outputs"]
    assert (
        output["data"]
        == server.post(
            "/score", {"input_data": {"columns": ["radius", "site"], "data": [[20, "left"], [5, "right"]]}}
        ).json
    )
    described = of(server.get("/v2/models/model"))["inputs"]
    assert [(one["name"], one["datatype"]) for one in described] == [("radius", "FP64"), ("site", "BYTES")]


def test_binary_tensors_go_both_ways(start_model: StartModel, cancer: Cancer):
    raw = struct.pack("<60d", *[value for row in cancer["rows"][:2] for value in row])
    head = json.dumps(
        {
            "inputs": [
                {"name": "r", "shape": [2, 30], "datatype": "FP64", "parameters": {"binary_data_size": len(raw)}}
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "content-type": "application/octet-stream"}
    answer = start_model("forest").ask("POST", INFER, head + raw, headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers["inference-header-content-length"])
    [output] = json.loads(answer.body[:size])["outputs"]
    assert output == {"name": "predict", "datatype": "INT64", "shape": [2], "parameters": {"binary_data_size": 16}}
    assert list(struct.unpack("<2q", answer.body[size:])) == cancer["expected"]["forest"][:2]


def test_many_at_once_share_calls_and_each_gets_its_own(start_model: StartModel, cancer: Cancer):
    server = start_model("forest", "--inline-max-ms", "0")

    def ask(number: int) -> int:
        one = {"name": "r", "shape": [1, 30], "datatype": "FP64", "data": cancer["rows"][number]}
        return of(server.post(INFER, {"inputs": [one]}))["outputs"][0]["data"][0]

    with ThreadPoolExecutor(16) as clients:
        assert list(clients.map(ask, range(200))) == cancer["expected"]["forest"][:200]


def one(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [2], "datatype": "INT8", "data": [1, 2], **changes}
    return {"inputs": [{key: value for key, value in tensor.items() if value is not None}]}


ONE = json.dumps(one()).encode()
REFUSED: list[tuple[Any, str]] = [
    ([], "The body is no JSON object."),
    ({}, "inputs is no list."),
    ({"inputs": []}, "inputs is empty."),
    ({"inputs": [1]}, "An input is no JSON object."),
    (one(name=None), "has no name"),
    (one(datatype="INT7"), "The datatype 'INT7' is not known: BOOL,"),
    (one(shape=[-2]), "shape is no list of whole numbers"),
    (one(shape=None), "shape is no list"),
    (one(shape=[3]), "There are 2 elements where the shape [3] has 3."),
    (one(shape=[2**62, 2**62]), "There are 2 elements"),
    (one(shape=[1] * 70, data=[1]), "cannot be made"),
    (one(shape=[2**62, 2**62, 0], data=[]), "cannot be made"),
    (one(datatype="FP64", data=[1, 10**400]), "a number that no FP64 can be"),
    (one(datatype="INT64", data=[1, 10**30]), "a number outside"),
    (one(data=None), "There is neither data nor binary_data_size."),
    (one(data=[1, 128]), "a number outside -128 to 127"),
    (one(data=[1, 2.5]), "no whole number"),
    (one(data=["1", "2"]), "no whole number"),
    (one(data=[[1], [2, 3]]), "ragged"),
    (one(datatype="BOOL"), "neither true nor false"),
    (one(datatype="FP32", data=["1", "2"]), "no number"),
    (one(datatype="BYTES"), "which is no text"),
    (one(parameters={"binary_data_size": 1}), "both data and binary_data_size"),
    (one(data=None, parameters={"binary_data_size": 1}), "0 bytes are there"),
    ({**one(), "id": 7}, "id is no text."),
    ({**one(), "parameters": {"binary_data_output": "yes"}}, "neither true nor false"),
    ({**one(), "outputs": [{}]}, "has no name"),
    ({"inputs": one()["inputs"] * 2}, "Input 'x' is there twice."),
]


@pytest.mark.parametrize(("body", "says"), REFUSED)
def test_what_is_wrong_with_a_request_is_said(start_model: StartModel, body: Any, says: str):
    answer = start_model("echo").post(INFER, body)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert says in answer.json["error"]


@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        (b"{", {}, "The body is not JSON"),
        (b"\xff", {}, "not UTF-8"),
        (b"", {}, "not JSON"),
        (b"{}", {"inference-header-content-length": "9"}, "the body has 2 bytes"),
        (b"{}", {"inference-header-content-length": "9" * 5000}, "the body has 2 bytes"),
        (b"{}", {"inference-header-content-length": "-1"}, "the body has 2 bytes"),
        (ONE + b"xx", {"inference-header-content-length": str(len(ONE))}, "2 bytes lie behind"),
        (b"{}", {"content-encoding": "gzip"}, "compressed"),
    ],
)
def test_what_is_wrong_with_its_framing_is_said(
    start_model: StartModel, body: bytes, headers: dict[str, str], says: str
):
    answer = start_model("echo").ask("POST", INFER, body, headers)
    assert (answer.status, says in answer.json["error"]) == (400, True), answer.body


def test_unknown_models_versions_and_routes_are_404_and_wrong_methods_405(start_model: StartModel):
    server = start_model("forest")
    for path in (
        "/v2/models/other",
        "/v2/models/model/versions/9",
        "/v2/models/model/stats",
        "/v2/nothing",
        "/v2/models",
    ):
        assert (server.get(path).status, list(server.get(path).json)) == (404, ["error"])
    assert (server.get(INFER).status, server.get(INFER).headers["allow"]) == (405, "POST")
    assert server.ask("POST", "/v2/models/model", b"{}").status == 405
    assert server.get("/v2x").headers["content-type"] == "application/problem+json"


def test_a_name_may_have_signs_that_a_path_writes_otherwise(start_model: StartModel, cancer: Cancer):
    server = start_model("forest", "--name", "größe 1/2")
    assert of(server.get("/v2/models/gr%C3%B6%C3%9Fe%201%2F2"))["name"] == "größe 1/2"


def test_a_model_with_params_gets_them(start_model: StartModel):
    request = {"inputs": [{"name": "a", "shape": [2], "datatype": "FP64", "data": [0, 4]}], "parameters": {"times": 3}}
    [output] = of(start_model("pyfunc").post(INFER, request))["outputs"]
    assert output["data"] == [-6, 6]


def test_a_script_says_what_it_is_but_takes_no_tensors(start_script: StartScript):
    server = start_script("def init():\n    pass\ndef run(d):\n    pass\n").wait_until_ready()
    assert of(server.get("/v2/health/ready")) == {"ready": True, "live": True}
    described = of(server.get("/v2/models/model"))
    assert (described["platform"], described["inputs"], described["outputs"]) == ("script", [], [])
    refused = server.post(INFER, one())
    assert (refused.status, "takes no tensors" in refused.json["error"]) == (400, True)


def test_while_it_loads_it_is_live_and_not_ready(start_script: StartScript):
    server = start_script("import time\ndef init():\n    time.sleep(600)\ndef run(d):\n    pass\n")
    wait_for(lambda: server.get("/v2/health/live").status == 200, words="liveness", log=lambda: server.log)
    ready = server.get("/v2/health/ready")
    assert (ready.status, ready.json) == (503, {"ready": False, "live": True})
    assert (server.get("/v2/models/model/ready").status, server.get("/v2").status) == (503, 200)
    refused = server.post(INFER, one())
    assert (refused.status, refused.headers["retry-after"], list(refused.json)) == (503, "1", ["error"])
