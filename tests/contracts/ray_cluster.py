"""A real Ray on this machine: a head and one more raylet, on loopback, with a token; and two engines of the driver."""

import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ultramarine.drivers.ray.process import ENGINE, ensure_environment

START_S = 120.0
END_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    folder: Path
    sockets: tuple[Path, ...]  #: one of each engine
    address: str
    python: Path  #: of Ray's environment
    variables: dict[str, str]


@contextmanager
def cluster(environments: Path) -> Generator[RayCluster]:
    """`environments`: where Ray's environment is kept. All processes are ended by pid at the end."""
    python = ensure_environment(environments, os.environ)
    # Ray's own sockets lie deep below this folder, and their paths may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="umr", ignore_cleanup_errors=True) as name, ExitStack() as ends:
        folder = Path(name)
        (folder / "token").write_text(secrets.token_hex(16))
        (folder / "token").chmod(0o600)
        plain = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        authorised = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
        variables = plain | authorised | {"RAY_USAGE_STATS_ENABLED": "0"}
        address = f"127.0.0.1:{_free_port()}"
        made = RayCluster(
            folder=folder,
            sockets=(folder / "a.sock", folder / "b.sock"),
            address=address,
            python=python,
            variables=variables,
        )
        head = ["--head", "--port", address.rpartition(":")[2], "--temp-dir", name, "--include-dashboard", "false"]
        for log, flags in (("head.log", head), ("second.log", ["--address", address])):
            ends.enter_context(_node(made, log, flags))
        for path in made.sockets:
            ends.enter_context(engine(made, path))
        yield made


@contextmanager
def engine(ray: RayCluster, path: Path) -> Generator[subprocess.Popen[bytes]]:
    """One engine that listens on `path`, and has looked once when it is given."""
    command = [str(ray.python), "-I", "-B", str(ENGINE), ray.address, "um-test", str(path)]
    with (ray.folder / f"{path.stem}.log").open("ab") as log:
        started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=ray.variables)
    try:
        _until(lambda: _answers(path), "the engine", Path(log.name))
        yield started
    finally:
        assert started.stdin is not None
        started.stdin.close()  # it goes with who has started it
        started.wait(END_S)


def engines(path: Path) -> list[int]:
    """Living engines that were told to listen there."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(path) in command:
            found.append(int(folder.name))
    return found


@contextmanager
def _node(ray: RayCluster, log: str, flags: list[str]) -> Generator[None]:
    command = [str(ray.python.with_name("ray")), "start", "--block", "--node-ip-address", "127.0.0.1", *flags]
    command += ["--num-cpus", "2", "--memory", str(4 << 30), "--object-store-memory", str(100 << 20)]
    place = ray.folder / log
    with place.open("wb") as file:
        started = subprocess.Popen(command, stdout=file, stderr=file, env=ray.variables, start_new_session=True)
    try:
        _until(lambda: "Ray runtime started" in place.read_text(), "Ray", place)
        yield
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(END_S)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait(END_S)


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(path))
            asking.sendall(b'{"verb": "observe"}\n')
            return b"answer" in asking.recv(1 << 16)
    except OSError:
        return False


def _until(is_so: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not start: {log.read_text()[-2000:]}"
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
