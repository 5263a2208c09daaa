"""Real runners against a real, small control plane; after every test nothing is left of them."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.runner.control import Control, end_process

from ultramarine_runner import cgroups, machine, trees

SOURCE = Path(__file__).parents[2] / "src"
LOCK = Path(os.environ.get("ULTRAMARINE_TEST_LOCK", "/tmp/um-tests-of-the-runner.lock"))


@dataclass
class World:
    """A control plane, and the runners of one test."""

    folder: Path
    control: Control
    runners: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])
    allocations: list[str] = field(default_factory=list[str])

    def runner(self, allocation: str = "e1-a-1", *, rank: int = 0, **settings: Any) -> str:
        """Start a runner and wait for its hello; its node token."""
        folder = self.make_folder(allocation, rank, **settings)
        self.start(folder, allocation)
        self.control.wait(lambda: self.control.hellos.get((allocation, rank)), words="hello")
        return f"{allocation}-{rank}"

    def make_folder(self, allocation: str, rank: int = 0, **settings: Any) -> Path:
        """A folder as a driver makes it."""
        folder = self.folder / f"{allocation}-{rank}"
        folder.mkdir(mode=0o700)
        config: dict[str, Any] = {
            "url": f"unix:{self.control.socket_path}",
            "allocation": allocation,
            "rank": rank,
            "epoch": "e1",
            "join_secret": "secret",
            "cache": str(self.folder / "cache"),
            "cpus": 1.0,
            "memory_bytes": 2 << 30,
            "gpus": [],
            "uv": None,
        }
        (folder / "config.json").write_text(json.dumps({**config, **settings}))
        return folder

    def start(self, folder: Path, allocation: str) -> subprocess.Popen[bytes]:
        """Start a runner there, as a driver does."""
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCE), trees.ALLOCATION: allocation}
        with (folder / "runner.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ultramarine_runner", str(folder)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.runners.append(process)
        if allocation not in self.allocations:
            self.allocations.append(allocation)
        return process

    def keeper(self, at: int = 0) -> int:
        """The pid of a runner's keeper."""
        [pid] = trees.children(self.runners[at].pid)
        return pid

    def go(self, token: str, key: str, command: str, *, phase: str = "go", **spec: Any) -> None:
        """Want a task that runs this command."""
        self.control.want(token, {key: entry(command, phase=phase, **spec)})

    def leftovers(self) -> list[int]:
        """What still carries the allocation of one of our runners."""
        return [pid for one in self.allocations for pid in trees.carriers(trees.ALLOCATION, one)]

    def _left_after(self, patience_s: float) -> list[int]:
        # A runner that is ended before its welcome dies of the signal, and its keeper only once it has seen that.
        deadline = time.monotonic() + patience_s
        while (left := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return left

    def close(self) -> list[str]:
        """Take every run away, end the runners; the pids and control groups that were left after that."""
        self.control.faults.drop, self.control.faults.status = 0.0, None
        self.control.stop()
        self.control.start()
        for process in self.runners:
            end_process(process.pid, signal.SIGTERM)
        for process in self.runners:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        left = [str(pid) for pid in self._left_after(5.0)]
        for one in self.allocations:
            trees.sweep(one)
            left += cgroups.sweep(one)
        self.control.stop()
        return left


def entry(command: str, *, phase: str = "go", grace_s: float = 2.0, **spec: Any) -> dict[str, Any]:
    """One run of a desired state."""
    return {"phase": phase, "grace_s": grace_s, "spec": make_spec(command, **spec)}


def make_spec(command: str | None, **changes: Any) -> dict[str, Any]:
    """A valid spec with differences."""
    return {"mode": "task", "workspace": "default", "name": "j", "node_rank": 0, "nodes": 1, "processes_per_node": 1,
            "distribution": None, "command": command, "argv": None, "environment_variables": {}, "secret_variables": {},
            "environment": None, "behind": [], "code": None, "files": [], "inputs": [], "outputs": [],
            "limits": {"timeout_s": None, "memory_bytes": None, "log_bytes": None}, "sockets": [], "token": "t",
            **changes}  # fmt: skip


@pytest.fixture(scope="session")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a runner on this machine remembers of its Pythons: looking for them takes seconds, once is enough."""
    cache = tmp_path_factory.mktemp("pythons")
    machine.pythons(cache)
    return cache / "pythons.json"


@pytest.fixture
def alone() -> Iterator[None]:
    """One at a time on this machine: these runners have the same keys, and each ends whatever carries its key."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def world(alone: None, pythons: Path) -> Iterator[World]:
    """A world that is empty again afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="um-t-"))
    (folder / "cache").mkdir()
    shutil.copy(pythons, folder / "cache")
    control = Control(folder / "control.sock")
    control.start()
    made = World(folder, control)
    yield made
    left = made.close()
    words = "".join(file.read_text() for file in folder.glob("*/runner.log"))
    shutil.rmtree(folder, ignore_errors=True)
    assert not left, f"{left} were left. {words}"
    assert "Traceback" not in words, words
