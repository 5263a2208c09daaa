"""Real Rays, with a token: two nodes on loopback and two engines of the driver; or a node on each of several hosts."""

import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.hosts import Host, Network

from ultramarine.drivers.ray.process import ENGINE, ensure_environment

START_S = 120.0
CPUS = ["--num-cpus", "2"]
END_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    folder: Path
    sockets: tuple[Path, ...]  #: one of each engine
    address: str
    python: Path  #: of Ray's environment
    variables: dict[str, str]


@dataclass(kw_only=True)
class RayHosts:
    """A node of two CPUs and two GPUs on each host of a network. The head on this machine has none to give.

    A host's folder has its home, its files of Ray and its temporary files.
    """

    ray: RayCluster
    network: Network
    raylets: dict[str, ExitStack]  #: by host, what ends its node

    def folder(self, host: Host) -> Path:
        return self.ray.folder / host.name

    def join(self, host: Host) -> None:
        """Start Ray there, for the first time or again. Not two at once: they race for the names of sockets."""
        place = self.folder(host)
        (place / "tmp").mkdir(parents=True, exist_ok=True)
        at = ["--node-ip-address", host.address, "--temp-dir", str(place / "ray")]
        flags = ["--address", self.ray.address, *at, *CPUS, "--num-gpus", "2"]
        variables = {"HOME": str(place), "TMPDIR": str(place / "tmp")}
        node = _node(self.ray, f"{host.name}.log", flags, command=host.command, variables=variables)
        self.raylets[host.name] = ExitStack()
        self.raylets[host.name].enter_context(node)

    def leave(self, host: Host) -> None:
        self.raylets[host.name].close()

    def raylet(self, host: Host) -> int:
        """The process that is Ray's there."""
        (found,) = [pid for pid in host.pids() if Path(f"/proc/{pid}/comm").read_text().strip() == "raylet"]
        return found


@contextmanager
def beside_a_head(environments: Path) -> Generator[RayCluster]:
    """A node of two CPUs beside a head that has none, and keeps what it knows on disk."""
    with _prepared(environments, f"127.0.0.1:{_free_port()}") as made, ExitStack() as ends:
        (made.folder / "storage").mkdir()
        kept = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(made.folder / "storage")}
        at = ["--node-ip-address", "127.0.0.1"]
        ends.enter_context(_head(made, [*at, "--num-cpus", "0"], variables=kept))
        apart = ["--temp-dir", str(made.folder / "node")]
        ends.enter_context(_node(made, "node.log", ["--address", made.address, *at, *apart, *CPUS]))
        ends.callback(lambda: _send(with_children(carrying(f"{made.folder}/")), signal.SIGKILL))
        yield made


@contextmanager
def with_another_head(ray: RayCluster) -> Generator[None]:
    """The head is killed, and is there again at once, without a raylet."""
    _send(carrying(f"--head\0--port\0{ray.address.rpartition(':')[2]}\0"), signal.SIGSTOP)
    [raylet] = carrying(f"--raylet_socket_name={ray.folder}/session")
    [gcs] = carrying(f"gcs_server\0--log_dir={ray.folder}/session")
    command, variables = (Path(f"/proc/{gcs}/{what}").read_bytes().split(b"\0")[:-1] for what in ("cmdline", "environ"))
    _send(with_children([gcs, raylet]), signal.SIGKILL)
    with (ray.folder / "gcs.log").open("wb") as log:
        again = subprocess.Popen(command, stdout=log, stderr=log, env=dict(each.split(b"=", 1) for each in variables))
    try:
        yield
    finally:
        again.kill()
        again.wait()


def with_children(pids: Sequence[int]) -> list[int]:
    """With what they have started: a raylet's agents change their command line, and outlive it by a minute or more."""
    found = list(pids)
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                found += [int(each) for each in path.read_text().split()]
    return found


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def cluster(environments: Path) -> Generator[RayCluster]:
    """Two nodes on loopback, one with GPUs that Ray is told of, and two engines.

    `environments`: where Ray's environment is kept.
    """
    with _prepared(environments, f"127.0.0.1:{_free_port()}") as made, ExitStack() as ends:
        at = ["--node-ip-address", "127.0.0.1"]
        ends.enter_context(_head(made, [*at, *CPUS, "--num-gpus", "4"]))
        ends.enter_context(_node(made, "second.log", ["--address", made.address, *at, *CPUS]))
        for path in made.sockets:
            ends.enter_context(engine(made, path))
        yield made


@contextmanager
def on_hosts(environments: Path, network: Network, *, cache: Path) -> Generator[RayHosts]:
    """A Ray of all hosts of a network. `cache`: of environments and packages, which nodes have in common here."""
    with _prepared(environments, f"{network.address}:{_free_port()}") as ray:
        head = ["--node-ip-address", network.address, "--num-cpus", "0"]
        with _head(ray, head), _nodes_of(ray, network, cache=cache) as made:
            yield made


@contextmanager
def joined(environments: Path, network: Network, *, address: str, token: str, cache: Path) -> Generator[RayHosts]:
    """A node on each host of a network, of a Ray whose head is there."""
    with _prepared(environments, address, token=token) as ray, _nodes_of(ray, network, cache=cache) as made:
        yield made


@contextmanager
def _nodes_of(ray: RayCluster, network: Network, *, cache: Path) -> Generator[RayHosts]:
    with ExitStack() as ends:
        made = RayHosts(ray=ray, network=network, raylets={})
        for host in network.hosts:
            place = made.folder(host) / ".cache"
            place.mkdir(parents=True)
            (place / "ultramarine").symlink_to(cache)
            made.join(host)
            ends.callback(made.leave, host)
        yield made


@contextmanager
def _prepared(environments: Path, address: str, *, token: str = "") -> Generator[RayCluster]:
    """What comes before the first process: an environment, a folder, a file with the token."""
    python = ensure_environment(environments, os.environ)
    # Ray's own sockets lie deep below this folder, and their paths may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="umr", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "token").write_text(token or secrets.token_hex(16))
        (folder / "token").chmod(0o600)
        plain = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        authorised = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
        yield RayCluster(
            folder=folder,
            sockets=(folder / "a.sock", folder / "b.sock"),
            address=address,
            python=python,
            variables=plain | authorised | {"RAY_USAGE_STATS_ENABLED": "0"},
        )


@contextmanager
def engine(ray: RayCluster, path: Path) -> Generator[subprocess.Popen[bytes]]:
    """One engine that listens on `path`, and has looked once when it is given."""
    command = [str(ray.python), "-I", "-B", str(ENGINE), ray.address, "um-test", str(path), "", "20"]
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
    return carrying(f"{path}\0")


def carrying(words: str) -> list[int]:
    """Living processes with that in their command line."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if words.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def _head(
    ray: RayCluster, flags: list[str], *, variables: Mapping[str, str] | None = None
) -> AbstractContextManager[None]:
    port = ray.address.rpartition(":")[2]
    head = ["--head", "--port", port, "--temp-dir", str(ray.folder), "--include-dashboard", "false"]
    return _node(ray, "head.log", [*head, *flags], variables=variables)


@contextmanager
def _node(
    ray: RayCluster,
    log: str,
    flags: list[str],
    *,
    command: Callable[..., list[str]] = lambda *words: list(words),
    variables: Mapping[str, str] | None = None,
) -> Generator[None]:
    """`command`: how something is run where this node is."""
    sizes = ["--memory", str(4 << 30), "--object-store-memory", str(100 << 20)]
    words = command(str(ray.python.with_name("ray")), "start", "--block", *flags, *sizes)
    place = ray.folder / log
    with started_node(words, place, {**ray.variables, **(variables or {})}):
        yield


@contextmanager
def started_node(words: Sequence[str], log: Path, variables: Mapping[str, str]) -> Generator[None]:
    """`ray start --block …`, until it is there; ended with all its processes."""
    with log.open("wb") as file:
        started = subprocess.Popen(words, stdout=file, stderr=file, env=variables, start_new_session=True)
    try:
        _until(lambda: "Ray runtime started" in log.read_text(), "Ray", log)
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
