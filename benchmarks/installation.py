"""A whole installation in a folder of its own, for as long as a program measures."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ultramarine.sdk import Workspace
from ultramarine.sdk.connection import of_home

T = TypeVar("T")
UM = Path(sys.executable).with_name("um")
FINAL = ("Completed", "Failed", "Canceled")
MINIMAL = "minimal@latest"
MITE = "mite"  #: a size of which twenty fit two cores
SETTINGS = {"ULTRAMARINE_SIZES": json.dumps({MITE: {"cpus": 0.05, "memory_gib": 0.25}})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    home: Path
    port: int
    variables: Mapping[str, str]

    def um(self, *words: str) -> str:
        """What it printed. Raises RuntimeError with what it said when it failed."""
        variables = {**self.variables, "ULTRAMARINE_HOME": str(self.home)}
        done = subprocess.run([str(UM), *words], env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"um {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def up(self) -> None:
        self.um("up", "-d", "--port", str(self.port))

    def down(self) -> None:
        self.um("down", "--timeout", "20")

    def client(self) -> Workspace:
        """A new one: a client is for one thread."""
        return Workspace(of_home(self.home))

    def pids(self) -> dict[str, int]:
        """By part, its process."""
        state = self._state()
        found = {part["name"]: int(part["pid"]) for part in state["parts"] if part["pid"]}
        return {"supervisor": int(state["supervisor"][0]), **found}

    def are_ready(self) -> bool:
        """Whether every part answers. `um up` does not wait for MLflow."""
        return all(part["phase"] == "ready" for part in self._state()["parts"])

    def _state(self) -> dict[str, Any]:
        return json.loads((self.home / "run" / "parts.json").read_text())

    def runners(self) -> list[int]:
        """The processes of all runners, not those of runs."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if str(self.home).encode() in words and b"runner-" in words:
                    found.append(int(entry.name))
        return found


def three_ports() -> int:
    """The first of three in a row that nobody uses."""
    for port in range(21000 + os.getpid() % 9000, 32000, 3):
        try:
            for each in (port, port + 1, port + 2):
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        return port
    raise RuntimeError("No three ports in a row are free on 127.0.0.1.")


@contextmanager
def stopped_installation(**settings: str) -> Generator[Installation]:
    """Not started yet; ended, and its folder removed, in any case: when we are asked to end, too.

    With ULTRAMARINE_TEST_CACHE it finds the environments there that others have made.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    home = Path(tempfile.mkdtemp(prefix="um-bench-"))
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("ULTRAMARINE_")}
    made = {"ULTRAMARINE_CACHE": kept} if (kept := os.environ.get("ULTRAMARINE_TEST_CACHE")) else {}
    here = Installation(home=home, port=three_ports(), variables={**theirs, **SETTINGS, **made, **settings})
    try:
        yield here
    finally:
        here.down()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def installation(**settings: str) -> Generator[Installation]:
    with stopped_installation(**settings) as here:
        here.up()
        yield here


def job(command: str, *, compute: str = "local", environment: str = MINIMAL) -> dict[str, Any]:
    return {"command": command, "environment": environment, "compute": compute}


def cluster(
    workspace: Workspace, name: str, *, nodes: int, idle_s: int, nodes_min: int = 0, size: str = MITE, **more: Any
) -> None:
    workspace.computes.create_or_update(
        {
            "type": "amlcompute",
            "name": name,
            "size": size,
            "min_instances": nodes_min,
            "max_instances": nodes,
            "idle_time_before_scale_down": idle_s,
            **more,
        }
    )


def until(found: Callable[[], T], what: str, *, seconds: float = 60.0, every_s: float = 0.01) -> T:
    """Ask until the answer is true; it."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Not within {seconds:g} s: {what}.")
        time.sleep(every_s)
    return answer


def ended(workspace: Workspace, name: str, *, seconds: float = 60.0) -> dict[str, Any]:
    """The job, when it has ended well. Raises RuntimeError with its reason when it has not."""

    def final() -> dict[str, Any]:
        view = workspace.jobs.get(name)
        return view if view["status"] in FINAL else {}

    view = until(final, f"job {name} has ended", seconds=seconds, every_s=0.05)
    if view["status"] != "Completed":
        raise RuntimeError(f"Job {name} {view['status']}: {view}")
    return view


def output(workspace: Workspace, name: str) -> str:
    """What rank 0 of its first attempt has printed."""
    log = next(log for log in workspace.jobs.logs(name) if str(log["rank"]) == "0")
    return b"".join(workspace.jobs.log(name, attempt=1, rank="0", file=log["file"])).decode()
