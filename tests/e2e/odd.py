"""An endpoint whose script does what a request asks of it: answers oddly, hangs, leaks. It has two replicas."""

import http.client
import json
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .installation import SIZE, SIZES, Installation, installed, until
from .load import PIN, Load

HERE = Path(__file__).parent
RATE = 40.0
PAIR = "pair"  #: room for two of `SIZE`
BODY = json.dumps({"data": [1, 2]}).encode()
MODES = """
import json
import threading
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
    if mode == "leak":
        threading.Thread(target=leak, daemon=True).start()
    return [3 * value for value in asked["data"]]


def leak():
    while True:
        kept.append(bytearray(8 * 2**20))
        time.sleep(0.1)


kept = []
"""


@dataclass(kw_only=True)
class Site:
    it: Installation
    uri: str
    key: str
    folder: Path  #: with the script, in `score`

    def load(self, rate: float = RATE, *, pin: str = "") -> Load:
        """`pin`: to the deployment of this name, whatever the traffic is."""
        headers = {PIN: pin} if pin else {}
        return Load(uri=self.uri, key=self.key, body=BODY, rate=rate, headers=headers, expected=[3, 6])

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

    def mode(self, mode: str, *, pin: str = "blue", **more: Any) -> tuple[int, bytes]:
        return self.ask(json.dumps({"mode": mode, "data": [1, 2], **more}).encode(), **{PIN: pin})

    def open(self) -> socket.socket:
        parts = urlsplit(self.uri)
        return socket.create_connection((str(parts.hostname), int(parts.port or 80)))

    def head(self, length: int) -> bytes:
        path = urlsplit(self.uri).path
        fields = f"Host: here\r\nAuthorization: Bearer {self.key}\r\nContent-Length: {length}\r\n\r\n"
        return f"POST {path} HTTP/1.1\r\n{fields}".encode()

    # Its deployments

    def body(self, name: str, **different: Any) -> dict[str, Any]:
        """A deployment of two replicas. What is None in `different` it has not."""
        plain = {
            "name": name,
            "endpoint_name": "odd",
            "model": {"path": str(HERE / "model")},
            "code_configuration": {"code": "score", "scoring_script": "score.py"},
            "environment": "azureml:sklearn@latest",
            "instance_type": SIZE,
            "instance_count": 2,
            "request_settings": {
                "request_timeout_ms": 2000,
                "max_concurrent_requests_per_instance": 4,
                "max_queue_wait_ms": 2000,
            },
        }
        return {field: value for field, value in (plain | different).items() if value is not None}

    def deploy(self, name: str, *, folder: Path | None = None, **different: Any) -> dict[str, Any]:
        """With the script in `folder`, once it answers or has failed."""
        there = self.it.workspace.online_deployments
        there.create_or_update(self.body(name, **different), folder=folder or self.folder)
        return there.wait(name, "odd", timeout_s=180)

    def deployment(self, name: str = "blue") -> dict[str, Any]:
        return self.it.workspace.online_deployments.get(name, "odd")

    def answering(self, name: str = "blue") -> list[str]:
        return [row["run"] for row in self.deployment(name)["replicas"] if row["answers"]]

    def answers(self, name: str, count: int, *, seconds: float = 60) -> None:
        """Wait until so many of its replicas do, and no other is left."""

        def there() -> bool:
            return [row["answers"] for row in self.deployment(name)["replicas"]] == [True] * count

        until(there, f"{count} replicas of {name} answer", seconds=seconds)

    def remove(self, name: str) -> None:
        there = self.it.workspace.online_deployments
        there.delete(name, "odd")
        there.wait_gone(name, "odd", timeout_s=60)


@contextmanager
def odd(cache: Path, folder: Path) -> Generator[Site]:
    """In an installation of its own; `folder`: where the script is written."""
    (folder / "score").mkdir()
    (folder / "score" / "score.py").write_text(MODES)
    sizes = {**SIZES, PAIR: {"cpus": 0.1, "memory_gib": 0.5}}
    with installed(cache, ULTRAMARINE_SIZES=json.dumps(sizes)) as it:
        it.up()
        it.pid("mlflow", within_s=300)
        there = it.workspace
        there.online_endpoints.create_or_update({"name": "odd"})
        uri, key = there.online_endpoints.get("odd")["scoring_uri"], there.online_endpoints.credentials("odd")
        site = Site(it=it, uri=uri, key=key["primaryKey"], folder=folder)
        made = site.deploy("blue", instance_type="cpu-1")
        assert made["provisioning_state"] == "Succeeded", f"{made}\n{it.told()}"
        there.online_endpoints.update("odd", {"traffic": {"blue": 100}})
        until(lambda: site.ask(BODY)[0] == 200, "the gateway knows of it")
        yield site
