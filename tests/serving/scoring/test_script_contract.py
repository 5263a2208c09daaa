"""The rest of Azure's contract for score.py: asynchronous, raw, described by a schema, streamed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serving.scoring import servers
from tests.serving.scoring.conftest import StartScript
from tests.serving.scoring.environment import ModelEnvironment
from tests.serving.scoring.servers import Server, wait_for

FOLDER = "import os, pathlib\nfolder = pathlib.Path(os.environ['AZUREML_MODEL_DIR'])\n"

# Asynchronous

GATED = (
    FOLDER
    + """
import asyncio
inside = most = 0
async def init():
    global word
    await asyncio.sleep(0)
    word = "ready"
async def run(raw_data):
    global inside, most
    if raw_data == "most":
        return [most, word]
    inside += 1
    most = max(most, inside)
    try:
        if inside == int(raw_data):
            (folder / "all").touch()
        while not (folder / "all").exists():
            await asyncio.sleep(0.005)
    finally:
        inside -= 1
    return raw_data
"""
)


def together(server: Server, count: int, body: bytes) -> list[Any]:
    answers: list[Any] = []
    clients = [
        threading.Thread(target=lambda: answers.append(server.ask("POST", "/score", body).json)) for _ in range(count)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    return answers


def test_an_asynchronous_run_works_on_many_requests_at_once(start_script: StartScript):
    server = start_script(GATED).wait_until_ready()
    assert together(server, 5, b"5") == ["5"] * 5
    assert server.ask("POST", "/score", b"most").json == [5, "ready"]


def test_on_no_more_of_them_than_it_may(start_script: StartScript):
    server = start_script(GATED, "--max-concurrent", "2").wait_until_ready()
    assert together(server, 6, b"2") == ["2"] * 6
    assert server.ask("POST", "/score", b"most").json == [2, "ready"]


def test_one_over_its_time_is_cancelled_and_the_replica_stays_well(start_script: StartScript):
    source = """
import asyncio
ended = []
def init():
    pass
async def run(raw_data):
    if raw_data == "ended":
        return ended
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        ended.append("cancelled")
        raise
"""
    server = start_script(source, "--request-timeout-ms", "100", "--hang-ms", "100").wait_until_ready()
    assert server.ask("POST", "/score", b"slow").status == 408
    wait_for(lambda: server.ask("POST", "/score", b"ended").json == ["cancelled"], words="it to be cancelled")
    assert server.get("/health/ready").status == 200


def test_one_that_blocks_its_loop_is_found_out(start_script: StartScript):
    source = "import time\ndef init():\n    pass\nasync def run(raw_data):\n    time.sleep(600)\n"
    server = start_script(source, "--request-timeout-ms", "50", "--hang-ms", "200").wait_until_ready()
    assert server.ask("POST", "/score", b"slow").status == 408
    assert server.wait() == 4
    assert "time.sleep(600)" in server.log


@pytest.mark.parametrize("raises", ["raise SystemExit(1)", "raise KeyError('odd')", "next(iter([]))"])
def test_whatever_an_asynchronous_run_raises_the_server_goes_on(start_script: StartScript, raises: str):
    server = start_script(f"def init():\n    pass\nasync def run(raw_data):\n    {raises}\n").wait_until_ready()
    assert [server.post("/score", {}).status for _ in range(2)] == [500, 500]


def test_an_asynchronous_init_serves_a_plain_run(start_script: StartScript):
    source = "async def init():\n    global word\n    word = 'ready'\ndef run(raw_data):\n    return word\n"
    assert start_script(source).wait_until_ready().post("/score", {}).json == "ready"


# Raw

RAW = """
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse

def init():
    pass

@rawhttp
def run(request):
    if request.method == "OPTIONS":
        return AMLResponse("", 204, {"Access-Control-Allow-Origin": "*"})
    if request.args.get("teapot"):
        return AMLResponse({"short": "stout"}, 418, {"X-Mine": "1"}, json_str=True)
    if request.args.get("bytes"):
        return AMLResponse(request.get_data(), 200, {"Content-Type": "image/png"})
    seen = [request.method, request.path, request.headers["X-Mine"], request.get_data(as_text=True)]
    return [*seen, request.is_json, request.get_json(silent=True), request.content_type]
"""


@pytest.fixture(params=["without flask", "with flask"])
def raw(request: pytest.FixtureRequest, start_script: StartScript, start_in_models: Callable[[str], Server]) -> Server:
    """A server of the raw script, in an environment that has no package of Azure's."""
    return (start_script if request.param == "without flask" else start_in_models)(RAW).wait_until_ready()


@pytest.fixture
def start_in_models(serving_zip: Path, models: ModelEnvironment, started: list[Server], tmp_path: Path):
    """Start a script in the environment of the models, which has flask and inference-schema."""

    def start(source: str) -> Server:
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "score.py").write_text(source)
        command = [str(models.python), str(serving_zip), "--site", str(models.site), "--model-dir", str(tmp_path)]
        started.append(servers.start([*command, "--code", str(tmp_path / "code")], tmp_path, {"PATH": "/usr/bin"}))
        return started[-1]

    return start


def test_a_raw_run_gets_the_request_itself(raw: Server):
    headers = {"x-mine": "7", "content-type": "application/json"}
    answer = raw.ask("POST", "/score?a=1", b'{"b": 2}', headers)
    assert answer.json == ["POST", "/score", "7", '{"b": 2}', True, {"b": 2}, "application/json"]


def test_what_it_answers_is_sent_as_it_is(raw: Server):
    answer = raw.get("/score?teapot=1")
    assert (answer.status, answer.json, answer.headers["x-mine"]) == (418, {"short": "stout"}, "1")
    picture = raw.ask("POST", "/score?bytes=1", b"\x89\xff")
    assert (picture.body, picture.headers["content-type"]) == (b"\x89\xff", "image/png")
    asked = raw.ask("OPTIONS", "/score")
    assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, "*")


def test_a_raw_request_without_flask_says_what_it_has_not(start_script: StartScript):
    server = start_script(RAW.replace("request.path", "request.files")).wait_until_ready()
    assert server.ask("POST", "/score", b"", {"x-mine": "1"}).status == 500
    assert "A raw request has no 'files' here. With flask in the environment it is flask's own." in server.log


def test_with_flask_a_raw_request_has_files(start_in_models: Callable[[str], Server]):
    source = RAW.replace("request.get_data(as_text=True)", "request.files['f'].read().decode()")
    server = start_in_models(source).wait_until_ready()
    body = b'--b\r\ncontent-disposition: form-data; name="f"; filename="x"\r\n\r\nin the file\r\n--b--\r\n'
    answer = server.ask("POST", "/score", body, {"x-mine": "1", "content-type": "multipart/form-data; boundary=b"})
    assert answer.json[3] == "in the file"


# Described by a schema: the real package

SCHEMA = """
import numpy
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

def init():
    pass

@input_schema("data", NumpyParameterType(numpy.array([[1.0, 2.0]])))
@input_schema("times", StandardPythonParameterType(2))
@output_schema(NumpyParameterType(numpy.array([2.0])))
def run(data, times):
    return data.sum(axis=1) * times
"""


@pytest.mark.parametrize("source", [SCHEMA, SCHEMA.replace("def run", "async def run")])
def test_a_described_run_gets_its_types_and_is_in_the_api_description(
    start_in_models: Callable[[str], Server], source: str
):
    server = start_in_models(source).wait_until_ready()
    assert server.post("/score", {"data": [[1, 2], [3, 4]], "times": 10}).json == [30, 70]
    schemas = server.get("/swagger.json").json["components"]["schemas"]
    assert schemas["ServiceInput"]["properties"]["times"] == {"type": "integer", "format": "int64"}
    assert schemas["ServiceInput"]["properties"]["data"]["items"]["items"]["type"] == "number"
    assert schemas["ServiceInput"]["example"] == {"data": [[1.0, 2.0]], "times": 2}
    assert schemas["ServiceOutput"]["type"] == "array"


def test_data_that_does_not_fit_the_schema_is_a_400(start_in_models: Callable[[str], Server]):
    server = start_in_models(SCHEMA).wait_until_ready()
    answer = server.post("/score", {"data": [[1, 2]], "times": "many"})
    assert answer.status == 400
    assert answer.json["detail"].startswith("The data does not fit what run() takes: Invalid input data type to parse.")
    assert server.post("/score", {"data": [[1, 2]]}).status == 400
    answer = server.ask("POST", "/score", b"[" * 100_000)
    assert (answer.status, answer.json["detail"].partition(".")[0]) == (400, "The body is nested too deeply")


def test_numpy_and_what_json_has_no_word_for_are_answered_as_documented(start_in_models: Callable[[str], Server]):
    source = """
import datetime, numpy, pandas
def init():
    pass
def run(raw_data):
    return {"a": numpy.float32(0.5), "b": numpy.array([1, 2]), "c": [numpy.nan, float("inf")], "d": numpy.bool_(True),
            "e": pandas.DataFrame({"x": [1, None]}), "f": datetime.date(2026, 1, 2), "g": b"bytes", 7: pandas.NaT}
"""
    answer = start_in_models(source).wait_until_ready().post("/score", {})
    assert answer.json == {
        "a": 0.5,
        "b": [1, 2],
        "c": [None, None],
        "d": True,
        "e": [{"x": 1.0}, {"x": None}],
        "f": "2026-01-02",
        "g": "Ynl0ZXM=",
        "7": None,
    }


# Streamed


def parts(*yielded: str, is_async: bool = False) -> str:
    body = "\n".join(f"    yield {each}" for each in yielded)
    return f"def init():\n    pass\n{'async ' if is_async else ''}def run(raw_data):\n{body}\n"


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("yielded", "accept", "content_type", "body"),
    [
        (["'a'", "'b'"], "", "text/plain; charset=utf-8", b"ab"),
        (["b'\\xff'", "b'\\x00'"], "", "application/octet-stream", b"\xff\x00"),
        (["{'n': 1}", "{'n': 2}"], "", "application/x-ndjson", b'{"n":1}\n{"n":2}\n'),
        (["'a\\nb'", "{'n': 2}"], "text/event-stream", "text/event-stream", b'data: a\ndata: b\n\ndata: {"n":2}\n\n'),
        (["'data: x\\n\\n'", "'y'"], "", "text/event-stream", b"data: x\n\ndata: y\n\n"),
    ],
)
def test_what_run_yields_is_sent_part_by_part(
    start_script: StartScript, yielded: list[str], accept: str, content_type: str, body: bytes, is_async: bool
):
    server = start_script(parts(*yielded, is_async=is_async)).wait_until_ready()
    answer = server.ask("POST", "/score", b"", {"accept": accept} if accept else {})
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, content_type, body)
    assert answer.headers["transfer-encoding"] == "chunked"


def test_a_generator_that_yields_nothing_is_an_empty_answer(start_script: StartScript):
    source = "def init():\n    pass\ndef run(raw_data):\n    return iter(())\n"
    answer = start_script(source).wait_until_ready().post("/score", {})
    assert (answer.status, answer.body) == (200, b"")


def test_a_response_of_its_own_may_be_streamed(start_script: StartScript):
    source = """
from azureml.contrib.services.aml_response import AMLResponse
def init():
    pass
def run(raw_data):
    return AMLResponse((part for part in ("a", "b")), 201, {"Content-Type": "text/csv"})
"""
    answer = start_script(source).wait_until_ready().post("/score", {})
    assert (answer.status, answer.headers["content-type"], answer.body) == (201, "text/csv", b"ab")


def test_one_that_fails_before_its_first_part_is_a_500(start_script: StartScript):
    server = start_script(parts("{}['nothing']")).wait_until_ready()
    assert server.post("/score", {}).json["detail"] == "run() raised KeyError."


ENDLESS = (
    FOLDER
    + """
def init():
    pass
{a}def run(raw_data):
    if raw_data == "ended":
        yield str((folder / "ended").exists())
        return
    try:
        while True:
            yield "x" * 1000
    finally:
        (folder / "ended").touch()
"""
)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_client_that_goes_ends_the_generator_and_others_are_served_meanwhile(
    start_script: StartScript, is_async: bool
):
    server = start_script(ENDLESS.replace("{a}", "async " if is_async else "")).wait_until_ready()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.socket))
        client.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        assert server.ask("POST", "/score", b"ended").body == b"False"
    wait_for(lambda: server.ask("POST", "/score", b"ended").body == b"True", words="the generator to end")


def test_the_ids_of_a_request_come_back(start_script: StartScript):
    server = start_script("def init():\n    pass\ndef run(raw_data):\n    return 1\n").wait_until_ready()
    answer = server.ask("POST", "/score", b"", {"x-ms-client-request-id": "a1", "x-request-id": "b2"})
    assert (answer.headers["x-ms-client-request-id"], answer.headers["x-request-id"]) == ("a1", "b2")
    assert "x-request-id" not in server.ask("POST", "/score", b"").headers
