"""MLflow as `launch` starts it, in a home of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

START_TIMEOUT_S = 300.0


class Server:
    """One home; `start` and `kill` as often as wanted."""

    def __init__(self, home: Path, environments: Path) -> None:
        self.home = home
        self.socket = home / "run" / "mlflow.sock"
        self.log = home / "mlflow.log"
        self._environments = environments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self.spawn()
        self.wait_until_it_answers()

    def spawn(self) -> subprocess.Popen[bytes]:
        self.home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "ultramarine.tracking.launch", "--home", str(self.home)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--environments", str(self._environments)], stderr=log, stdout=log
            )
        return self._process

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            assert self._process is not None and self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def answers(self) -> bool:
        request = b"GET /mlflow/health HTTP/1.1\r\nHost: mlflow\r\nConnection: close\r\n\r\n"
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(self.socket))
                client.sendall(request)
                return client.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def kill(self) -> None:
        """As the system would: without a word."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(timeout=START_TIMEOUT_S)
