"""score.py as in Azure: a real server for each script."""

from __future__ import annotations

import json
import threading

import pytest
from tests.serving.scoring.conftest import StartScript
from tests.serving.scoring.servers import wait_for

ECHO = """
def init():
    pass

def run(raw_data):
    return raw_data
"""


def script(returned: str, before: str = "") -> str:
    return f"{before}\ndef init():\n    pass\n\ndef run(raw_data):\n    return {returned}\n"


def test_run_gets_the_body_as_text_and_a_text_is_answered_as_json(start_script: StartScript):
    server = start_script(ECHO).wait_until_ready()
    answer = server.ask("POST", "/score", '{"a": "ä"}'.encode())
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == '{"a": "ä"}', "Azure's clients expect a returned text to be a JSON string"


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("{'a': [1, 2.5]}", {"a": [1, 2.5]}),
        ("None", {}),
        ("[float('nan'), 1]", [None, 1]),
        ("__import__('array').array('i', [1, 2])", [1, 2]),
    ],
)
def test_what_run_returns_becomes_json(start_script: StartScript, returned: str, expected: object):
    assert start_script(script(returned)).wait_until_ready().post("/score", {}).json == expected


def test_bytes_are_answered_as_they_are(start_script: StartScript):
    answer = start_script(script("b'\\x00\\xff'")).wait_until_ready().post("/score", {})
    assert (answer.body, answer.headers["content-type"]) == (b"\x00\xff", "application/octet-stream")


def test_a_response_keeps_its_status_headers_and_content(start_script: StartScript):
    response = """
class Response:
    status_code = 418
    headers = {"Content-Type": "text/plain", "X-Mine": "1", "Content-Length": "999"}
    def get_data(self):
        return b"teapot"
"""
    answer = start_script(script("Response()", response)).wait_until_ready().post("/score", {})
    assert (answer.status, answer.body, answer.headers["x-mine"]) == (418, b"teapot", "1")
    assert answer.headers["content-length"] == "6"


def test_run_may_ask_for_the_headers(start_script: StartScript):
    source = "def init():\n    pass\ndef run(data, request_headers):\n    return request_headers['x-mine']\n"
    assert start_script(source).wait_until_ready().ask("POST", "/score", b"x", {"X-Mine": "7"}).json == "7"


def test_a_get_gives_run_the_query_as_json(start_script: StartScript):
    source = script("__import__('json').loads(raw_data)")
    answer = start_script(source).wait_until_ready().get("/score?a=1&b=[1,2]&c=x&c=y&d=null")
    assert answer.json == {"a": 1, "b": [1, 2], "c": ["x", "y"], "d": None}


def test_what_is_nested_too_deeply_in_a_query_is_a_text(start_script: StartScript):
    deep = "[" * 5000
    source = script("__import__('json').loads(raw_data)")
    assert start_script(source).wait_until_ready().get(f"/score?a={deep}").json == {"a": deep}


def test_the_script_finds_its_model_its_neighbours_and_its_name(start_script: StartScript):
    source = """
import os
from neighbour import WORD

def init():
    global word
    word = WORD

def run(raw_data):
    return [word, os.path.basename(os.environ["AZUREML_MODEL_DIR"]), os.environ["AZUREML_ENTRY_SCRIPT"]]
"""
    neighbour = "import os, pathlib\npathlib.Path(__file__).with_name('neighbour.py').write_text('WORD = 1')\n"
    server = start_script(neighbour + source, entry="src/score.py").wait_until_ready()
    assert server.post("/score", {}).json == [1, "model", "src/score.py"]


def test_an_exception_in_run_is_a_problem_for_the_client_and_a_traceback_in_the_log(start_script: StartScript):
    server = start_script(script("{}['nothing here']")).wait_until_ready()
    answer = server.post("/score", {})
    assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.headers["x-ms-run-function-failed"] == "True"
    assert answer.json["detail"] == "run() raised KeyError."
    assert "nothing here" not in answer.body.decode(), "what is in the exception is for the owner only"
    assert "KeyError: 'nothing here'" in server.log


@pytest.mark.parametrize("raises", ["__import__('sys').exit(1)", "next(iter([]))"])
def test_whatever_run_raises_the_server_goes_on(start_script: StartScript, raises: str):
    server = start_script(script(raises)).wait_until_ready()
    assert [server.post("/score", {}).status for _ in range(2)] == [500, 500]


def test_a_value_that_has_no_json_form_is_named(start_script: StartScript):
    answer = start_script(script("object()")).wait_until_ready().post("/score", {})
    assert (answer.status, answer.json["detail"]) == (
        500,
        "The value that run() returned cannot be sent: a object has no JSON form.",
    )


def test_a_body_that_is_not_utf8_is_a_400(start_script: StartScript):
    answer = start_script(ECHO).wait_until_ready().ask("POST", "/score", b"\xff")
    assert (answer.status, answer.json["detail"]) == (400, "The body is not UTF-8: byte 0 is 0xff.")


def test_a_body_over_the_limit_is_a_413(start_script: StartScript):
    server = start_script(ECHO, "--max-body", "100").wait_until_ready()
    assert server.ask("POST", "/score", b"x" * 101).status == 413
    assert server.ask("POST", "/score", b"x" * 100).status == 200


def test_until_init_is_done_it_lives_but_is_not_ready(start_script: StartScript):
    source = """
import os, time
def init():
    while not os.path.exists(os.environ["AZUREML_MODEL_DIR"] + "/go"):
        time.sleep(0.01)
def run(raw_data):
    return 1
"""
    server = start_script(source)
    wait_for(lambda: server.get("/health/live").status == 200, words="liveness", log=lambda: server.log)
    assert [server.get(path).status for path in ("/", "/health/ready", "/swagger.json")] == [503, 503, 503]
    assert server.post("/score", {}).status == 503
    (server.socket.parent / "model" / "go").touch()
    server.wait_until_ready()
    assert server.get("/").body == b"Healthy"
    assert server.post("/score", {}).json == 1


SLOW = """
import os, pathlib, time
folder = pathlib.Path(os.environ["AZUREML_MODEL_DIR"])
def init():
    pass
def run(raw_data):
    (folder / "begun").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return raw_data
"""


def test_liveness_is_answered_while_run_works(start_script: StartScript):
    server = start_script(SLOW).wait_until_ready()
    model = server.socket.parent / "model"
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(server.post("/score", 1).json))
    asking.start()
    wait_for((model / "begun").exists, words="run() to begin")
    assert (server.get("/").status, answers) == (200, [])
    (model / "go").touch()
    asking.join(10)
    assert answers == ["1"]


def test_run_is_called_for_one_request_at_a_time(start_script: StartScript):
    source = """
import time
inside = 0
def init():
    pass
def run(raw_data):
    global inside
    inside += 1
    seen = inside
    time.sleep(0.01)
    inside -= 1
    return seen
"""
    server = start_script(source).wait_until_ready()
    seen: list[int] = []
    clients = [threading.Thread(target=lambda: seen.append(server.post("/score", {}).json)) for _ in range(10)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    assert seen == [1] * 10


def test_when_asked_to_stop_it_finishes_what_is_in_flight(start_script: StartScript):
    server = start_script(SLOW).wait_until_ready()
    model = server.socket.parent / "model"
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(server.post("/score", 2).json))
    asking.start()
    wait_for((model / "begun").exists, words="run() to begin")
    server.terminate()
    wait_for(lambda: "Stopping" in server.log, words="the server to stop", log=lambda: server.log)
    assert server.process.poll() is None
    (model / "go").touch()
    asking.join(10)
    assert (answers, server.wait()) == (["2"], 0)


def test_asked_to_stop_while_loading_it_ends_at_once(start_script: StartScript):
    server = start_script("import time\ndef init():\n    time.sleep(600)\ndef run(data):\n    pass\n")
    wait_for(lambda: server.get("/health/live").status == 200, words="liveness", log=lambda: server.log)
    server.terminate()
    assert server.wait() == 0


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def init():\n    open('/no/such')\ndef run(d):\n    pass\n", "failed in init(): FileNotFoundError"),
        ("def init():\n    raise SystemExit(0)\ndef run(d):\n    pass\n", "failed in init(): SystemExit"),
        ("import no_such_module\n", "failed in its import: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def run(d):\n    pass\n", "score.py defines no init(). A scoring script has init() and run(raw_data)."),
        ("def init():\n    pass\n", "score.py defines no run(). A scoring script has init() and run(raw_data)."),
        ("def init():\n    pass\ndef run():\n    pass\n", "run() takes no argument for the data."),
        (
            "def init():\n    pass\ndef run(*a):\n    pass\n",
            "run() takes positional-only arguments, *args or **kwargs.",
        ),
        ("def init(:\n", "failed in its import: SyntaxError"),
    ],
)
def test_a_script_that_cannot_start_ends_with_code_3_and_says_why_last(
    start_script: StartScript, source: str, says: str
):
    server = start_script(source)
    assert server.wait() == 3
    last = server.log.splitlines()[-1]
    assert says in last
    assert "Traceback (most recent call last)" in server.log


def test_a_missing_script_is_named(start_script: StartScript):
    server = start_script(ECHO, "--entry", "other.py")
    assert server.wait() == 3
    assert "holds no other.py. Set scoring_script" in server.log.splitlines()[-1]


def test_what_it_is_can_be_read(start_script: StartScript):
    server = start_script(ECHO, "--name", "cancer", "--version", "3", "--deployment", "blue").wait_until_ready()
    assert server.get("/version").json == {"name": "cancer", "version": "3", "deployment": "blue"}
    described = server.get("/swagger.json").json
    assert (described["openapi"], described["info"]["title"], described["info"]["version"]) == ("3.0.3", "cancer", "3")
    assert "/score" in described["paths"]


def test_the_swagger_file_of_the_script_is_preferred(start_script: StartScript):
    write = "import pathlib\npathlib.Path(__file__).with_name('swagger.json').write_text('{\"mine\": 1}')\n"
    assert start_script(write + ECHO).wait_until_ready().get("/swagger.json").json == {"mine": 1}


def test_unknown_paths_and_methods_are_refused_with_what_is_known(start_script: StartScript):
    server = start_script(ECHO).wait_until_ready()
    missing = server.get("/nothing")
    assert (missing.status, "/score" in missing.json["hint"]) == (404, True)
    refused = server.ask("DELETE", "/score")
    assert (refused.status, refused.headers["allow"]) == (405, "POST, GET")
    assert server.ask("POST", "/ping").status == 405


def test_what_the_script_prints_is_in_the_log_at_once(start_script: StartScript):
    server = start_script(script("print('seen ' + raw_data)")).wait_until_ready()
    server.post("/score", 5)
    assert "seen 5" in server.log


def test_more_requests_than_may_wait_are_told_to_come_back(start_script: StartScript):
    server = start_script(SLOW, "--max-waiting", "1").wait_until_ready()
    model = server.socket.parent / "model"
    asking = threading.Thread(target=lambda: server.post("/score", 1))
    asking.start()
    wait_for((model / "begun").exists, words="run() to begin")
    refused = server.post("/score", 2)
    (model / "go").touch()
    asking.join(10)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert json.loads(refused.body)["title"] == "Too many requests wait"


def test_a_server_that_fails_says_whose_request_it_was(start_script: StartScript):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    server = start_script("def init():\n    pass\ndef run(raw_data):\n    raise ValueError(1)\n").wait_until_ready()
    server.ask("POST", "/score", b"1", {"x-request-id": "req-1", "traceparent": trace})
    assert f"run() raised (x-request-id req-1, traceparent {trace}):" in server.log
