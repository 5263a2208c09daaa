"""A scoring server as a process, and a small client of it."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """One answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    """A client connection over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


@dataclass
class Server:
    """A running scoring server."""

    process: subprocess.Popen[bytes]
    socket: Path
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def port_address(self) -> str:
        """HOST:PORT, of one that listens there."""
        found = re.search(r"Listening on (\S+);", self.log)
        assert found is not None, self.log
        return found[1]

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """One request on a connection of its own."""
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(status=answer.status, headers=found, body=answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, document: Any) -> Answer:
        """Send a JSON body."""
        return self.ask("POST", path, json.dumps(document).encode(), {"content-type": JSON})

    def wait_until_ready(self) -> Server:
        def is_ready() -> bool:
            assert self.process.poll() is None, f"The server ended:\n{self.log}"
            return self.socket.exists() and self.get("/health/ready").status == 200

        wait_for(is_ready, words="the server to be ready", log=lambda: self.log)
        return self

    def wait_until_it_says(self, words: str) -> Server:
        """Until its log holds these words."""
        wait_for(lambda: words in self.log, words=f"{words!r} in the log", log=lambda: self.log)
        return self

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(timeout=30)


def start(command: list[str], folder: Path, environment: Mapping[str, str], *, address: str = "") -> Server:
    """Start a server that listens in the folder, or at another address; it may not be ready yet."""
    path = folder / "s.sock"
    log_path = folder / "log.txt"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--socket", address or f"unix:{path}"], stdout=log, stderr=log, env=dict(environment)
        )
    return Server(process=process, socket=path, log_path=log_path)


def wait_for(holds: Callable[[], bool], *, words: str, log: Callable[[], str] = str, limit_s: float = 60) -> None:
    """Look again and again until it holds; fail with the words when it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            if holds():
                return
        except OSError:  # not listening yet
            pass
        assert time.monotonic() < deadline, f"Waited {limit_s} s in vain for {words}.\n{log()}"
        time.sleep(0.02)
