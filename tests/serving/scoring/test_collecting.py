"""What goes in and out is kept as JSON lines: a real server for each case."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.serving.scoring.conftest import StartModel, StartScript
from tests.serving.scoring.servers import Server, wait_for

ECHO = "import json\ndef init():\n    pass\ndef run(raw_data):\n    return json.loads(raw_data)\n"
HANGING = """
import json, os, threading

def init():
    global let_go
    let_go, real = threading.Event(), os.write

    def write(fd, content):
        if threading.current_thread().name == "collector":
            let_go.wait()
        return real(fd, content)

    os.write = write

def run(raw_data):
    if raw_data == '"let go"':
        let_go.set()
    return json.loads(raw_data)
"""
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FRAMES = """
from azureml.ai.monitoring import Collector
from azureml.ai.monitoring.context import BasicCorrelationContext
import json

class Frame:
    def __init__(self, rows):
        self.rows, self.columns, self.shape = rows, ["a"], (len(rows), 1)
    def copy(self):
        return Frame([dict(row) for row in self.rows])
    def to_dict(self, orient):
        return self.rows

def init():
    global inputs, outputs, absent
    inputs, outputs, absent = Collector(name="model_inputs"), Collector(name="model_outputs"), Collector(name="other")

def run(raw_data):
    rows = json.loads(raw_data)
    if rows == "no frame":
        return inputs.collect(rows).get_id()
    frame, context = Frame(rows), None
    if rows[0]["a"] == "own":
        context = BasicCorrelationContext(id="test")
    context = inputs.collect(frame, context)
    rows[0]["a"] = 0  # what is done to it afterwards is not collected
    outputs.collect(Frame([{"b": 1}]), context)
    absent.collect(frame)
    return context.get_id()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="um-collected-") as made:
        yield Path(made)


def options(folder: Path, *names: str, **different: Any) -> tuple[str, ...]:
    collections = different.pop("collections", dict.fromkeys(names, 1.0))
    plain = {"collections": collections, "source": "/workspaces/w"}
    return "--collect-into", str(folder), "--collect", json.dumps(plain | different)


def lines(folder: Path, collection: str) -> list[dict[str, Any]]:
    files = sorted((folder / collection).rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def ended(server: Server) -> None:
    server.terminate()
    assert server.wait() == 0, server.log


def figures(server: Server) -> Mapping[str, Any]:
    return server.get("/collected").json


def test_payloads_are_kept_in_azures_shape_and_joined_by_their_correlation(start_script: StartScript, folder: Path):
    server = start_script(ECHO, *options(folder, "request", "response"), "--version", "7").wait_until_ready()
    sent = [{"number": number, "text": "ä\n"} for number in range(20)]
    for one in sent:
        assert server.post("/score?x=1", one).json == one
    ended(server)
    requests, responses = lines(folder, "request"), lines(folder, "response")
    assert [each["data"] for each in requests] == [each["data"] for each in responses] == sent
    assert [each["correlationid"] for each in requests] == [each["correlationid"] for each in responses]
    assert len({each["id"] for each in requests + responses}) == 2 * len({e["correlationid"] for e in requests}) == 40
    assert set(requests[0]) == {
        *("specversion", "id", "source", "type", "datacontenttype", "time", "path", "method", "contentrange"),
        *("correlationid", "xrequestid", "modelversion", "agent", "data"),
    }
    first, answer = requests[0], responses[0]
    assert (first["specversion"], first["type"], first["source"]) == (
        "1.0",
        "azureml.inference.request",
        "/workspaces/w",
    )
    assert (first["path"], first["method"], first["modelversion"]) == ("/score?x=1", "POST", "7")
    size = len(json.dumps(sent[0]))
    assert first["contentrange"] == f"bytes 0-{size - 1}/{size}"
    assert (answer["type"], answer["status"]) == ("azureml.inference.response", 200)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])


@pytest.mark.parametrize(("rolling", "depth"), [("year", 1), ("month", 2), ("day", 3), ("hour", 4), ("minute", 5)])
def test_files_are_named_by_their_time(start_script: StartScript, folder: Path, rolling: str, depth: int):
    server = start_script(ECHO, *options(folder, "request", rolling=rolling)).wait_until_ready()
    server.post("/score", {})
    ended(server)
    [file] = (folder / "request").rglob("*.jsonl")
    [line] = lines(folder, "request")
    *period, name = file.relative_to(folder / "request").parts
    assert period == re.findall(r"\d+", line["time"])[:depth]
    assert re.fullmatch(r"\d+-000001\.jsonl", name)


def test_an_mlflow_models_rows_are_kept_by_themselves(start_model: StartModel, cancer: dict[str, Any], folder: Path):
    server = start_model("forest", *options(folder, "model_inputs", "model_outputs"))
    columns, rows = cancer["columns"], cancer["rows"][:3]
    expected = server.post("/score", {"input_data": {"columns": columns, "data": rows}}).json
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    assert server.post("/invocations", {"dataframe_records": named}).json == {"predictions": expected}
    assert server.post("/score", {"input_data": "nonsense"}).status == 400
    ended(server)
    inputs, outputs = lines(folder, "model_inputs"), lines(folder, "model_outputs")
    assert [each["data"] for each in inputs] == [named, named], "a request that was refused has no inputs"
    assert [each["data"] for each in outputs] == [[{"prediction": value} for value in expected]] * 2
    assert [each["correlationid"] for each in inputs] == [each["correlationid"] for each in outputs]
    assert {each["collectdatatype"] for each in inputs + outputs} == {"pandas.core.frame.DataFrame"}


def test_a_script_collects_what_it_wants_by_azures_own_calls(start_script: StartScript, folder: Path):
    names = ("model_inputs", "model_outputs", "request")
    server = start_script(FRAMES, *options(folder, *names)).wait_until_ready()
    told = [server.post("/score", [{"a": number}]).json for number in range(1, 4)]
    assert server.post("/score", [{"a": "own"}]).json == "test"
    assert server.post("/score", "no frame").status == 500, "as with Azure's package, unless on_error is given"
    ended(server)
    inputs, outputs = lines(folder, "model_inputs"), lines(folder, "model_outputs")
    assert [each["data"] for each in inputs] == [[{"a": 1}], [{"a": 2}], [{"a": 3}], [{"a": "own"}]]
    assert [each["data"] for each in outputs] == [[{"b": 1}]] * 4
    assert [each["correlationid"] for each in inputs] == [each["correlationid"] for each in outputs] == [*told, "test"]
    assert [each["correlationid"] for each in lines(folder, "request")][:3] == told
    assert server.log.count("does not enable 'other'") == 1


def test_a_script_that_collects_runs_where_nothing_is_collected(start_script: StartScript):
    server = start_script(FRAMES).wait_until_ready()
    assert server.post("/score", [{"a": 1}]).status == 200
    assert figures(server) == {"state": "off"}


def test_a_share_of_requests_is_kept_in_all_collections_together(start_script: StartScript, folder: Path):
    shares = {"request": 0.5, "response": 0.5, "model_inputs": 0.5, "model_outputs": 0.2}
    server = start_script(FRAMES, *options(folder, collections=shares)).wait_until_ready()
    for number in range(400):
        server.post("/score", [{"a": number + 1}])
    ended(server)
    ids = {name: [each["correlationid"] for each in lines(folder, name)] for name in shares}
    assert ids["request"] == ids["response"] == ids["model_inputs"]
    assert set(ids["model_outputs"]) < set(ids["request"])
    assert 120 < len(ids["request"]) < 280, "400 requests at one half: 8 standard deviations"


def test_headers_are_kept_as_asked_and_secrets_never(start_script: StartScript, folder: Path):
    wanted = ["X-Mine", "authorization", "Cookie", "content-type"]
    server = start_script(ECHO, *options(folder, "request", "response", headers=wanted)).wait_until_ready()
    secrets = {"Authorization": "Bearer s3cret", "Cookie": "s3cret", "Proxy-Authorization": "s3cret"}
    given = {"X-Mine": "1", "X-Other": "2", "x-request-id": "req-1", "traceparent": TRACE, **secrets}
    server.ask("POST", "/score", b"{}", given)
    ended(server)
    [request], [response] = lines(folder, "request"), lines(folder, "response")
    assert request["headers"] == {"x-mine": "1"}
    assert response["headers"] == {"content-type": "application/json"}
    assert (request["xrequestid"], request["traceparent"]) == ("req-1", TRACE)
    assert "s3cret" not in json.dumps([request, response])


def test_what_is_no_json_is_kept_as_it_is(start_script: StartScript, folder: Path):
    source = "def init():\n    pass\ndef run(raw_data):\n    return b'\\xff\\x00'\n"
    server = start_script(source, *options(folder, "request", "response")).wait_until_ready()
    server.ask("POST", "/score", "nö".encode(), {"content-type": "text/plain"})
    ended(server)
    [request], [response] = lines(folder, "request"), lines(folder, "response")
    assert (request["data"], request["datacontenttype"]) == ("nö", "text/plain")
    assert (response["data_base64"], response["datacontenttype"]) == ("/wA=", "application/octet-stream")


def test_a_body_that_is_too_large_is_said_and_not_kept(start_script: StartScript, folder: Path):
    server = start_script(ECHO, *options(folder, "request", "response")).wait_until_ready()
    body = json.dumps("x" * 1_500_000).encode()
    assert server.ask("POST", "/score", body).status == 200
    ended(server)
    [request], [response] = lines(folder, "request"), lines(folder, "response")
    assert (request["data"], request["datatoolarge"]) == (None, len(body))
    assert request["correlationid"] == response["correlationid"]


def test_a_folder_that_is_gone_stops_collecting_and_no_answer(start_script: StartScript, folder: Path):
    place = folder / "c"
    place.mkdir()
    server = start_script(ECHO, *options(place, "request")).wait_until_ready()
    server.post("/score", 1)
    wait_for(lambda: figures(server)["written"] == {"request": 1}, words="the first line")
    shutil.rmtree(place)
    for number in range(50):
        assert server.post("/score", number).json == number
    wait_for(lambda: figures(server)["left_out"] == 50, words="all to be counted", log=lambda: server.log)
    assert figures(server)["state"].startswith("halted: the files cannot be written")
    assert server.log.count("Nothing is collected for now") == 1


def test_what_is_not_fetched_is_bounded_and_goes_on_once_it_was(start_script: StartScript, folder: Path):
    server = start_script(ECHO, *options(folder, "request", bytes_max=2000)).wait_until_ready()

    def is_full() -> bool:
        server.post("/score", "x" * 100)
        return figures(server)["state"].startswith("halted: there are 2000 bytes")

    wait_for(is_full, words="the folder to be full", log=lambda: server.log)
    for file in (folder / "request").rglob("*.jsonl"):
        file.unlink()  # as whoever ships them does

    def goes_on() -> bool:
        server.post("/score", "again")
        return figures(server)["state"] == "collecting"

    wait_for(goes_on, words="collecting to go on", log=lambda: server.log)
    ended(server)
    assert lines(folder, "request")[-1]["data"] == "again"
    assert server.log.count("Nothing is collected for now") == server.log.count("Collecting goes on") == 1


def test_answers_do_not_wait_for_a_disk_that_hangs(start_script: StartScript, folder: Path):
    server = start_script(HANGING, *options(folder, "request")).wait_until_ready()
    for number in range(300):
        assert server.post("/score", number).json == number
    assert figures(server)["written"] == {"request": 0}
    server.post("/score", "let go")
    ended(server)
    assert [each["data"] for each in lines(folder, "request")] == [*range(300), "let go"]


def test_many_at_once_are_all_kept_each_in_a_whole_line(start_script: StartScript, folder: Path):
    server = start_script(ECHO, *options(folder, "request", "response")).wait_until_ready()

    def post(number: int) -> None:
        server.post("/score", number)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(post, range(500)))
    ended(server)
    assert sorted(each["data"] for each in lines(folder, "request")) == list(range(500))
    answered = {each["correlationid"]: each["data"] for each in lines(folder, "response")}
    assert {each["correlationid"]: each["data"] for each in lines(folder, "request")} == answered


def test_a_server_that_is_killed_leaves_whole_lines(start_script: StartScript, folder: Path):
    server = start_script(ECHO, *options(folder, "request")).wait_until_ready()
    for number in range(100):
        server.post("/score", number)
    wait_for(lambda: figures(server)["written"]["request"] > 0, words="some lines")
    server.process.kill()
    server.wait()
    kept = [each["data"] for each in lines(folder, "request")]
    assert kept == list(range(len(kept)))


def test_what_to_collect_is_checked(start_script: StartScript, folder: Path):
    server = start_script(ECHO, *options(folder, "request", rolling="week"))
    assert server.wait() == 2
    assert "--collect" in server.log
