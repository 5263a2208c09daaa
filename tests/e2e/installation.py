"""Real installations in short homes, and what may be found of them among the processes of this machine."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ultramarine.domain.errors import NotFound, UltramarineError, Unavailable
from ultramarine.sdk import Workspace
from ultramarine.sdk.connection import of_home

T = TypeVar("T")
UM = Path(sys.executable).with_name("um")
SIZE = "mite"  #: so small that twenty of them fit this machine beside each other
RUNNER = re.compile(r"/runner\S*\.pyz ")  #: in a command line
FINAL = ("Completed", "Failed", "Canceled")
LIVING: "list[Installation]" = []  #: those there now: a test that fails shows their logs
SIZES: Mapping[str, Mapping[str, float]] = {SIZE: {"cpus": 0.05, "memory_gib": 0.25}}
SETTINGS: Mapping[str, str] = {
    "ULTRAMARINE_SIZES": json.dumps(SIZES),
    "ULTRAMARINE_BEAT_S": "1",
    "ULTRAMARINE_GRACE_S": "3",
}


def free_ports() -> int:
    """The first of three ports in a row that nobody uses, below those that the system hands out by itself.

    Tests that run beside each other look from places that are 16 apart: what one has chosen it does not hold yet.
    """
    for port in range(20000 + os.getpid() * 16 % 10000, 32000, 4):
        try:
            for each in (port, port + 1, port + 2):
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no three free ports in a row")


def until(found: Callable[[], T], what: str, *, seconds: float = 30.0) -> T:
    """Ask again and again until the answer is true, or fail saying `what` did not come."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return answer


@dataclass(kw_only=True)
class Installation:
    """One home. `um up -d` starts it; everything else goes through the SDK, as users do it."""

    home: Path
    cache: Path
    port: int = field(default_factory=free_ports)
    settings: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))
    provider: str = "local"  #: of its clusters
    patience_s: float = 60  #: of who asks for a job and is not answered
    epoch: str = ""  #: all keys of this installation begin with it; known once it was up

    @property
    def environment(self) -> dict[str, str]:
        of_others = {name: value for name, value in os.environ.items() if not name.startswith("ULTRAMARINE_")}
        marks = {name: value for name, value in os.environ.items() if name.startswith("ULTRAMARINE_TEST")}
        return {**of_others, **marks, "ULTRAMARINE_CACHE": str(self.cache), **self.settings}

    def um(self, *words: str, within_s: float = 120) -> subprocess.CompletedProcess[str]:
        """A command of `um` on this home, to its end."""
        return subprocess.run(
            [str(UM), *words],
            env={**self.environment, "ULTRAMARINE_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=within_s,
            cwd="/",
        )

    def up(self) -> None:
        done = self.um("up", "-d", "--port", str(self.port))
        assert done.returncode == 0, f"um up: {done.stdout}{done.stderr}\n{self.told()}"
        self.epoch = self.workspace.installation.status()["epoch"]

    def down(self, *options: str) -> subprocess.CompletedProcess[str]:
        done = self.um("down", *options)
        assert done.returncode == 0, f"um down: {done.stdout}{done.stderr}\n{self.told()}"
        return done

    @property
    def workspace(self) -> Workspace:
        """A new client: one is not for several threads, nor over a restart on other ports."""
        return Workspace(of_home(self.home))

    def told(self, lines: int = 30) -> str:
        """The end of each log, for whoever has to find out what went wrong."""
        logs = [*sorted((self.home / "logs").glob("*.log")), *sorted((self.home / "nodes").glob("*/runner.log"))]
        return "\n".join(
            f"== {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) for log in logs
        )

    # Its processes

    def supervisor(self) -> int:
        record = json.loads((self.home / "run" / "supervisor.json").read_text())
        return int(record["pid"])

    def part(self, name: str) -> dict[str, Any]:
        """As the supervisor wrote it last."""
        try:
            rows: list[dict[str, Any]] = json.loads((self.home / "run" / "parts.json").read_text())["parts"]
        except FileNotFoundError:
            return {}
        return next((row for row in rows if row["name"] == name), dict[str, Any]())

    def pid(self, name: str, *, but: int = 0, within_s: float = 30) -> int:
        """The process of a part that is ready, and is not the process `but`."""

        def ready() -> int:
            row = self.part(name)
            return int(row["pid"]) if row.get("phase") == "ready" and row["pid"] not in (None, but) else 0

        return until(ready, f"{name} is ready", seconds=within_s)

    def runner(self, node: str) -> tuple[int, int]:
        """The two processes of a node's runner, its link and its keeper."""
        allocation = node.rpartition(".")[0]
        own = [pid for pid in carriers(f"ULTRAMARINE_ALLOCATION={allocation}") if RUNNER.search(command_line(pid))]
        link = [pid for pid in own if parent(pid) not in own]
        keeper = [pid for pid in own if parent(pid) in link]
        assert len(link) == 1, f"{allocation} has the runner's processes {own}"
        assert len(keeper) == 1, f"{allocation} has the runner's processes {own}"
        return link[0], keeper[0]

    # Its jobs

    def cluster(self, name: str = "c", *, nodes: int = 10, idle_s: int = 600, size: str = SIZE) -> None:
        self.workspace.computes.create_or_update(
            {
                "name": name,
                "type": "amlcompute",
                "size": size,
                "provider": self.provider,
                "max_instances": nodes,
                "idle_time_before_scale_down": idle_s,
            }
        )

    def submit(self, name: str, command: str, **fields: Any) -> None:
        """Create a job. The same body again is the same job, so that one may ask until the server answers."""
        body = {"name": name, "type": "command", "command": command, "environment": "azureml:minimal@latest"}

        def asked() -> bool:
            try:
                self.workspace.jobs.create({**body, "compute": "c", **fields}, folder=Path(__file__).parent)
            except Unavailable:
                return False
            return True

        until(asked, f"the server takes {name}", seconds=self.patience_s)

    def count(self, name: str, lines: int, *, pause_s: float = 0.02, metric_each: int = 0, **fields: Any) -> None:
        """A job of `job/counting.py`."""
        command = f"python counting.py {lines} {pause_s} {self.ledger} {metric_each}"
        self.submit(name, command, code="job", **fields)

    @property
    def ledger(self) -> Path:
        return self.home.with_name("ledger")

    def starts(self) -> dict[str, int]:
        """How often each attempt was started, by the word of the jobs themselves."""
        return Counter(self.ledger.read_text().split()) if self.ledger.exists() else {}

    def numbers(self, name: str) -> list[int]:
        """What the job has left as its output."""
        with tempfile.TemporaryDirectory(dir=self.home.parent) as folder:
            list(self.workspace.jobs.download(name, Path(folder), output_name="default"))
            return json.loads(next(Path(folder).rglob("numbers.json")).read_text())

    def job(self, name: str) -> dict[str, Any]:
        return self.workspace.jobs.get(name)

    def run_key(self, job: Mapping[str, Any]) -> str:
        """Of its newest attempt."""
        return f"{self.epoch}-{job['id']}-{job['attempt']}"

    def comes_to(self, name: str, *statuses: str, within_s: float = 60) -> dict[str, Any]:
        """The job in one of these statuses. What does not answer meanwhile is asked again."""

        def there() -> dict[str, Any] | None:
            try:
                job = self.job(name)
            except UltramarineError:  # not made yet, or nobody answers
                return None
            assert job["status"] in statuses or job["status"] not in FINAL, f"{name} is {job}"
            return job if job["status"] in statuses else None

        try:
            return until(there, f"{name} is {' or '.join(statuses)}", seconds=within_s) or {}
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._about(name)}\n{self.told()}") from None

    def _about(self, name: str) -> str:
        try:
            return str(self.job(name))
        except UltramarineError as error:
            return f"{name}: {error}"

    def log(self, name: str, attempt: int) -> str:
        """All of what its first rank has written; nothing when it never wrote."""
        try:
            return b"".join(self.workspace.jobs.log(name, attempt=attempt, rank="0", file="std_log.txt")).decode()
        except NotFound:
            return ""

    def endings(self, name: str) -> list[str]:
        """Every final status that the job ever got."""
        return [event["status"] for event in self.workspace.jobs.events(name) if event["status"] in FINAL]


@contextmanager
def installed(cache: Path, **settings: str) -> Generator[Installation]:
    """An installation of its own that is not started yet; at the end nothing of it may be left."""
    folder = Path(tempfile.mkdtemp(prefix="um-", dir="/tmp"))  # Unix sockets lie in it: it must be short
    made = Installation(home=folder / "h", cache=cache, settings={**SETTINGS, **settings})
    LIVING.append(made)
    try:
        yield made
        made.down()
        nothing_left(made.home, made.epoch)
    finally:
        LIVING.remove(made)
        for pid in [pid for pid, _ in leftovers(made.home, made.epoch)]:
            end(pid)
        shutil.rmtree(folder, ignore_errors=True)


def nothing_left(home: Path, epoch: str, *, within_s: float = 10) -> None:
    """No process of the installation lives, and no node has a folder."""

    def none() -> bool:
        return not leftovers(home, epoch)

    try:
        until(none, "every process has ended", seconds=within_s)
    except AssertionError as error:
        raise AssertionError(f"{error}: {leftovers(home, epoch)}") from None
    nodes = home / "nodes"
    assert not nodes.is_dir() or not list(nodes.iterdir()), f"left: {list(nodes.iterdir())}"


def leftovers(home: Path, epoch: str = "") -> list[tuple[int, str]]:
    """Living processes that belong to the installation: by its folder or its keys in a variable, by where they run."""
    found: list[tuple[int, str]] = []
    for pid in processes():
        variables = environment_of(pid)
        is_ours = (
            any(value.startswith(str(home)) for value in variables.values())
            or (epoch and any(value.startswith(f"{epoch}-") for value in variables.values()))
            or _where(pid).startswith(str(home))
            or str(home) in command_line(pid)
        )
        if is_ours and pid != os.getpid():
            found.append((pid, command_line(pid)[:160]))
    return found


def processes() -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and is_alive(int(entry)):
            yield int(entry)


def carriers(entry: str) -> list[int]:
    name, _, value = entry.partition("=")
    return [pid for pid in processes() if environment_of(pid).get(name) == value]


def environment_of(pid: int) -> dict[str, str]:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return {name: value for name, equals, value in (entry.partition("=") for entry in entries) if equals}


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _where(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def end(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return
