"""MLflow as `launch` starts it, in a home of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ultramarine

START_TIMEOUT_S = 100.0
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(ultramarine.__file__).parents[1])}  # installed or not


def wait_until(holds: Callable[[], bool], *, still: Callable[[], bool] = lambda: True) -> None:
    """Look again until it holds; fail when the deadline is over, or when `still` no longer holds."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not holds():
        assert still()
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
        process = self._process
        assert process is not None
        try:
            wait_until(self.answers, still=lambda: process.poll() is None)
        except AssertionError as error:
            raise AssertionError(self.log.read_text()) from error

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
