"""Limits of time and number: a real server whose run() waits until it is let go."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from tests.serving.scoring.conftest import StartScript
from tests.serving.scoring.servers import Answer, Server, wait_for

SLOW = """
import os, pathlib, time
folder = pathlib.Path(os.environ["AZUREML_MODEL_DIR"])
def init():
    pass
def run(raw_data):
    if raw_data == "quick":
        return raw_data
    (folder / "begun").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return raw_data
"""


def folder(server: Server) -> Path:
    """The model's, where the script looks for `go`."""
    return server.socket.parent / "model"


def asked(server: Server, body: bytes = b"slow") -> tuple[threading.Thread, list[Answer]]:
    """A client that waits for its answer."""
    answers: list[Answer] = []
    client = threading.Thread(target=lambda: answers.append(server.ask("POST", "/score", body)))
    client.start()
    return client, answers


def test_one_whose_turn_does_not_come_is_told_to_come_back(start_script: StartScript):
    server = start_script(SLOW, "--max-queue-wait-ms", "50").wait_until_ready()
    client, answers = asked(server)
    wait_for((folder(server) / "begun").exists, words="run() to begin")
    refused = server.ask("POST", "/score", b"quick")
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert "no turn came" in refused.json["detail"]
    (folder(server) / "go").touch()
    client.join(10)
    assert answers[0].json == "slow"


def test_a_call_over_its_time_is_a_408_and_the_replica_not_ready_until_it_returns(start_script: StartScript):
    server = start_script(SLOW, "--request-timeout-ms", "100").wait_until_ready()
    answer = server.ask("POST", "/score", b"slow")
    assert (answer.status, answer.json["title"]) == (408, "The model took too long")
    assert (server.get("/").status, server.get("/health/ready").status) == (503, 503)
    assert server.get("/health/live").status == 200, "it may come back"
    wait_for(lambda: 'score.py", line' in server.log, words="the log to say where it is", log=lambda: server.log)
    (folder(server) / "go").touch()
    server.wait_until_ready()
    assert server.ask("POST", "/score", b"quick").json == "quick"


def test_the_gateway_says_how_long_a_call_may_last_and_a_client_says_nothing_that_harms(start_script: StartScript):
    server = start_script(SLOW).wait_until_ready()
    for nonsense in ("-1", "0", "1e3", "9" * 30, ""):
        headers = {"x-ultramarine-timeout-ms": nonsense}
        assert server.ask("POST", "/score", b"quick", headers).json == "quick"
    answer = server.ask("POST", "/score", b"slow", {"x-ultramarine-timeout-ms": "100"})
    assert (answer.status, server.get("/health/ready").status) == (408, 503)
    (folder(server) / "go").touch()
    server.wait_until_ready()


def test_a_run_that_hangs_is_not_alive_and_ends_when_nobody_replaces_it(start_script: StartScript):
    server = start_script(SLOW, "--request-timeout-ms", "50", "--hang-ms", "1500").wait_until_ready()
    assert server.ask("POST", "/score", b"slow").status == 408
    wait_for(lambda: server.get("/health/live").status == 503, words="liveness to fail", log=lambda: server.log)
    assert server.wait() == 4
    last = server.log.splitlines()[-1]
    assert "after its time-out. This process ends for it." in last


def test_a_client_that_has_gone_does_not_hide_a_call_that_hangs(start_script: StartScript):
    server = start_script(SLOW, "--request-timeout-ms", "100", "--hang-ms", "100").wait_until_ready()
    with socket.socket(socket.AF_UNIX) as gone:
        gone.connect(str(server.socket))
        gone.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nslow")
        wait_for((folder(server) / "begun").exists, words="run() to begin")
    assert server.wait() == 4


def test_a_time_of_zero_is_no_limit(start_script: StartScript):
    server = start_script(SLOW, "--request-timeout-ms", "0", "--max-queue-wait-ms", "0").wait_until_ready()
    client, answers = asked(server)
    wait_for((folder(server) / "begun").exists, words="run() to begin")
    behind, later = asked(server, b"quick")
    assert server.get("/").status == 200
    (folder(server) / "go").touch()
    client.join(10)
    behind.join(10)
    assert [answer.json for answer in answers + later] == ["slow", "quick"]


@pytest.mark.parametrize("option", ["--max-concurrent", "--request-timeout-ms", "--max-queue-wait-ms"])
def test_limits_that_make_no_sense_are_refused(start_script: StartScript, option: str):
    server = start_script(SLOW, option, "-1")
    assert server.wait() == 2
    assert option in server.log
