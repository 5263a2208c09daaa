"""What goes wrong with requests and replicas while others flow: the right status code, and nobody else is harmed."""

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .installation import Installation, carriers, installed, until
from .load import Load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
HERE = Path(__file__).parent
RATE = 40.0
BODY = json.dumps({"data": [1, 2]}).encode()
MODES = """
import json
import time

import numpy


def init():
    pass


def run(raw_data):
    asked = json.loads(raw_data)
    mode = asked.get("mode")
    if mode == "nan":
        return [float("nan"), 1.0]
    if mode == "numpy":
        return {"whole": numpy.int64(3), "many": numpy.arange(3), "yes": numpy.bool_(True)}
    if mode == "object":
        return object()
    if mode == "raise":
        raise RuntimeError("asked for")
    if mode == "hang":
        time.sleep(asked["seconds"])
    if mode == "grow":
        kept.append(bytearray(200 * 2**20))
    return [3 * value for value in asked["data"]]


kept = []
"""


@dataclass(kw_only=True)
class Site:
    it: Installation
    uri: str
    key: str

    def load(self, rate: float = RATE) -> Load:
        return Load(uri=self.uri, key=self.key, body=BODY, rate=rate, expected=[3, 6])

    def ask(self, body: bytes, **more: str) -> tuple[int, bytes]:
        """`more`: headers."""
        parts = urlsplit(self.uri)
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            given = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", **more}
            connection.request("POST", parts.path, body, given)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def mode(self, mode: str, **more: Any) -> tuple[int, bytes]:
        return self.ask(json.dumps({"mode": mode, "data": [1, 2], **more}).encode())

    def open(self) -> socket.socket:
        parts = urlsplit(self.uri)
        return socket.create_connection((str(parts.hostname), int(parts.port or 80)))

    def head(self, length: int) -> bytes:
        path = urlsplit(self.uri).path
        fields = f"Host: here\r\nAuthorization: Bearer {self.key}\r\nContent-Length: {length}\r\n\r\n"
        return f"POST {path} HTTP/1.1\r\n{fields}".encode()

    def deployment(self, name: str = "blue") -> dict[str, Any]:
        return self.it.workspace.online_deployments.get(name, "odd")

    def answering(self, name: str = "blue") -> list[str]:
        return [row["run"] for row in self.deployment(name)["replicas"] if row["answers"]]


@pytest.fixture(scope="module")
def site(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An endpoint with two replicas of a script that does what it is asked."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "score").mkdir()
    (folder / "score" / "score.py").write_text(MODES)
    with installed(cache) as it:
        it.up()
        it.pid("mlflow", within_s=300)
        there = it.workspace
        there.online_endpoints.create_or_update({"name": "odd"})
        there.online_deployments.create_or_update(body_of("blue"), folder=folder)
        made = there.online_deployments.wait("blue", "odd", timeout_s=180)
        assert made["provisioning_state"] == "Succeeded", f"{made}\n{it.told()}"
        there.online_endpoints.update("odd", {"traffic": {"blue": 100}})
        uri, key = there.online_endpoints.get("odd")["scoring_uri"], there.online_endpoints.credentials("odd")
        yield Site(it=it, uri=uri, key=key["primaryKey"])


def body_of(name: str, **different: Any) -> dict[str, Any]:
    return {
        "name": name,
        "endpoint_name": "odd",
        "model": {"path": str(HERE / "model")},
        "code_configuration": {"code": "score", "scoring_script": "score.py"},
        "environment": "azureml:sklearn@latest",
        "instance_type": "cpu-1",
        "instance_count": 2,
        "request_settings": {
            "request_timeout_ms": 2000,
            "max_concurrent_requests_per_instance": 4,
            "max_queue_wait_ms": 2000,
        },
        **different,
    }


def test_odd_answers_and_odd_bodies_have_their_status_and_harm_nobody(site: Site):
    with site.load() as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        assert site.mode("nan") == (200, b"[null,1.0]")
        assert json.loads(site.mode("numpy")[1]) == {"whole": 3, "many": [0, 1, 2], "yes": True}
        assert [site.mode(mode)[0] for mode in ("object", "raise")] == [500, 500]
        assert [site.ask(body)[0] for body in (b"\xff\xfe\x00", b"", b"{")] == [400, 500, 500]
        with site.open() as large:
            large.sendall(site.head(101 * 2**20))
            assert large.recv(100).startswith(b"HTTP/1.1 413 ")
        for _ in range(20):  # clients that go in the middle
            with site.open() as gone:
                gone.sendall(site.head(100) + b"{")
        until(lambda: len(load.answers) > 5 * RATE, "the others go on")
    assert not load.failed, f"{load.told()}\n{site.it.told()}"


def test_clients_that_send_slowly_are_sent_away_and_harm_nobody(site: Site):
    slow = [site.open() for _ in range(30)]
    began = time.monotonic()
    with site.load() as load:
        left = list(slow)
        while left and time.monotonic() < began + 40:
            for each in list(left):
                try:
                    each.sendall(b"P" if time.monotonic() - began < 0.2 else b"O")
                except OSError:
                    left.remove(each)
            time.sleep(0.5)
    for each in slow:
        each.close()
    assert not left
    assert not load.failed, f"{load.told()}\n{site.it.told()}"


def test_a_run_that_hangs_is_504_and_the_other_replica_answers(site: Site):
    with site.load() as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        began = time.monotonic()
        assert site.mode("hang", seconds=15)[0] == 504
        assert time.monotonic() - began < 5
        time.sleep(5)
        after = time.monotonic()
        until(lambda: len(load.since(after)) > 3 * RATE, "the other answers")
    print(load.told())
    behind = [answer for answer in load.failed if answer.at < began + 3]
    assert load.failed == behind, f"only who was behind it is harmed: {load.told()}\n{site.it.told()}"
    assert len(behind) <= 3 * RATE
    until(lambda: len(site.answering()) == 2, "it is back", seconds=60)


def test_ten_times_the_load_is_429_for_what_is_too_much_and_then_all_is_well(site: Site):
    with site.load(rate=60 * RATE) as flood:
        time.sleep(4)
    statuses = flood.statuses()
    print(flood.told())
    assert statuses[200] > 4 * RATE
    assert set(statuses) <= {200, 429}, flood.told()
    with site.load() as load:
        time.sleep(2)
    assert not load.failed, load.told()


def test_fifty_changes_of_the_configuration_cost_no_request(site: Site):
    with site.load() as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        for number in range(50):
            wait_ms = {"request_settings": {"max_queue_wait_ms": 2000 + number}}
            site.it.workspace.online_deployments.update("blue", "odd", wait_ms)
    print(load.told())
    assert not load.failed, f"{load.told()}\n{site.it.told()}"


def test_a_killed_replica_costs_what_it_had_in_hand(site: Site):
    until(lambda: len(site.answering()) == 2, "both answer", seconds=60)
    with site.load() as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        [victim, _] = site.answering()
        for pid in carriers(f"ULTRAMARINE_RUN_KEY={victim}"):
            os.kill(pid, signal.SIGKILL)
        until(lambda: victim not in site.answering() and len(site.answering()) == 2, "it is replaced", seconds=60)
    print(load.told())
    assert len(load.failed) <= 4, f"{load.told()}\n{site.it.told()}"


def test_a_model_file_that_is_cut_and_an_init_that_raises_fail_their_deployment_alone(site: Site, tmp_path: Path):
    (tmp_path / "score").mkdir()
    (tmp_path / "score" / "score.py").write_text("def init():\n    raise OSError('unpickling stack underflow')\n" + RUN)
    with site.load() as load:
        there = site.it.workspace.online_deployments
        there.create_or_update(body_of("cut", instance_count=1), folder=tmp_path)
        made = there.wait("cut", "odd", timeout_s=120)
        assert made["provisioning_state"] == "Failed"
        assert "init(): OSError: unpickling stack underflow" in made["reason"]
        there.delete("cut", "odd")
        there.wait_gone("cut", "odd", timeout_s=60)
    assert not load.failed, f"{load.told()}\n{site.it.told()}"


RUN = "\n\ndef run(raw_data):\n    return 1\n"


def test_a_deployment_that_is_deleted_while_it_serves_by_name_says_404_from_then_on(site: Site, tmp_path: Path):
    (tmp_path / "score").mkdir()
    (tmp_path / "score" / "score.py").write_text("def init():\n    pass\n" + RUN)
    there = site.it.workspace.online_deployments
    there.create_or_update(body_of("brief", instance_count=1), folder=tmp_path)
    assert there.wait("brief", "odd", timeout_s=120)["provisioning_state"] == "Succeeded"
    seen: list[int] = []
    is_over = threading.Event()

    def ask_on() -> None:
        while not is_over.is_set():
            seen.append(site.ask(BODY, **{"azureml-model-deployment": "brief"})[0])

    asking = threading.Thread(target=ask_on)
    asking.start()
    with site.load() as load:
        until(lambda: len(seen) > 10, "it answers")
        there.delete("brief", "odd")
        until(lambda: seen[-1] == 404, "it is gone")
        there.wait_gone("brief", "odd", timeout_s=60)
    is_over.set()
    asking.join()
    first = seen.index(404)
    assert set(seen[:first]) == {200}
    assert set(seen[first:]) == {404}
    assert not load.failed, f"{load.told()}\n{site.it.told()}"
