"""Installations of small real parts, each in a home of its own, ended with the test."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from ultramarine.supervision import commands, lock
from ultramarine.supervision.parts import Part
from ultramarine.supervision.policy import Phase

T = TypeVar("T")
PROGRAM = Path(__file__).with_name("installation.py")
SRC = Path(__file__).parents[2] / "src"


def until(found: Callable[[], T], what: str, *, seconds: float = 15.0) -> T:
    """Ask again and again until the answer is true, or fail saying `what` did not come."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return answer


def free_port() -> int:
    """The first of three ports in a row that nobody uses."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            try:
                for each in (port + 1, port + 2):
                    socket.create_server(("127.0.0.1", each)).close()
            except OSError:
                continue
            return port


@dataclass(kw_only=True)
class Installation:
    folder: Path
    home: Path
    port: int = field(default_factory=free_port)

    def up(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self.home), str(self.port), str(self.folder), *options],
            env={**os.environ, "PYTHONPATH": str(SRC)},
            stderr=subprocess.PIPE,
            text=True,
        )

    def tell(self, name: str, vice: str) -> None:
        (self.folder / f"{name}.{vice}").touch()

    def part(self, name: str) -> Part | None:
        return next((part for part in commands.parts(self.home) if part.name == name), None)

    def pid(self, name: str) -> int:
        """The process of a part, once it is ready."""

        def ready() -> int | None:
            part = self.part(name)
            return part.pid if part and part.phase is Phase.READY else None

        return until(ready, f"{name} is ready") or 0

    def pids(self) -> dict[str, int]:
        return {name: self.pid(name) for name in ("gateway", "control", "mlflow")}


@pytest.fixture
def installation() -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="um-") as name:  # short: Unix sockets lie in it
        made = Installation(folder=Path(name), home=Path(name) / "home")
        yield made
        commands.stop(made.home, grace_s=8)
        assert lock.holder(made.home) is None
