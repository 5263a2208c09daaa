"""`python -m ultramarine.drivers.ray.head --home H --address HOST:PORT`: keep the head of a Ray of our own running.

Started by the supervisor as a child. Ray's head process (its GCS, a raylet without CPUs) and its autoscaler are
children of this one and end with it. When the head ends, so does this program, and the supervisor starts it again:
what the head knows is on disk, and its nodes wait for it. The autoscaler knows nothing that it cannot look up, and is
started again here.
"""

import argparse
import contextlib
import ctypes
import http.server
import json
import os
import re
import secrets
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ultramarine.drivers.ray.places import Places
from ultramarine.drivers.ray.process import ensure_environment
from ultramarine.locks.venv import BuildFailed

AUTOSCALER = Path(__file__).parent / "autoscaler"
RECONNECT_S = 300  #: nodes wait so long for a head that is gone, as runners do for the control plane
OBJECTS_BYTES = 80 * 1024**2  #: Ray's least: nothing of ours is passed through its object store
TURN_S, LOOK_S = 0.2, 0.02
RETRY_S, RETRY_S_MAX, GOOD_S = 0.2, 10.0, 30.0
END_S = 6.0
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ultramarine.drivers.ray.head")
    parser.add_argument("--home", type=Path, required=True, help="the installation's folder")
    parser.add_argument("--address", required=True, help="where nodes reach the head, HOST:PORT of this machine")
    given = parser.parse_args(arguments)
    places = Places(home=given.home.resolve())
    cache = os.environ.get("ULTRAMARINE_CACHE")
    environments = (Path(cache).expanduser().absolute() if cache else places.home / "cache") / "ray"
    try:
        python = ensure_environment(environments, os.environ)
        places.prepare()
        return Head(places, given.address, python).live()
    except (BuildFailed, OSError) as error:
        say(f"cannot start: {error}")
        return 1


class Head:
    """One life of the head: two processes, and an answer to who asks whether it is well."""

    def __init__(self, places: Places, address: str, python: Path) -> None:
        self._places, self._address, self._python = places, address, python
        self._name = f"head-{secrets.token_hex(4)}"  #: another one in each life: the one before is dead to Ray
        self._ray: subprocess.Popen[bytes] | None = None
        self._is_told_to_end = threading.Event()

    def live(self) -> int:
        """Until told to end, or Ray ends. Returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)
        sweep(self._places.shelter)
        (self._places.temporary / "ray_current_cluster").unlink(missing_ok=True)  # Ray would join what it names
        self._ray = self._start(*self._ray_command())
        serve(self._places.health, self.is_well)
        autoscaler = Autoscaler(self)
        while not self._is_told_to_end.wait(TURN_S):
            if (code := self._ray.poll()) is not None:
                say(f"Ray's head has ended with {code}; its own logs: {self._places.temporary}/session_latest/logs")
                break
            if self.is_well():
                autoscaler.turn()
        autoscaler.end()
        end(self._ray)
        sweep(self._places.shelter)
        if not self._is_told_to_end.is_set():
            return 1  # what it has logged stays for who wants to know why
        shutil.rmtree(self._places.shelter, ignore_errors=True)
        return 0

    def _told(self, number: int, frame: object) -> None:
        self._is_told_to_end.set()

    def is_well(self) -> bool:
        """Whether its process lives and its port is open."""
        host, _, port = self._address.rpartition(":")
        if self._ray is None or self._ray.poll() is not None:
            return False
        try:
            with socket.create_connection((host, int(port)), timeout=0.4):
                return True
        except OSError:
            return False

    @property
    def configuration(self) -> Path:
        return self._places.configuration

    def start_autoscaler(self, provider: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        paths = [str(AUTOSCALER), *provider.get("pythonpath", ())]
        return self._start(
            *("-u", "-P", "-m", "ray.autoscaler.v2.monitor", f"--gcs-address={self._address}"),
            *(f"--autoscaling-config={self.configuration}", f"--logs-dir={self._places.logs}"),
            *("--logging-rotate-bytes=5000000", "--logging-rotate-backup-count=2"),
            PYTHONPATH=os.pathsep.join(paths),
            AUTOSCALER_UPDATE_INTERVAL_S="1",
            AUTOSCALER_MAX_CONCURRENT_LAUNCHES="250",  # in batches of 5: those that wait hold up no others
            RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S="900",
        )

    def _ray_command(self) -> tuple[str, ...]:
        host, _, port = self._address.rpartition(":")
        return (
            *("-P", "-m", "ray.scripts.scripts", "start", "--head", "--block", "--no-monitor"),
            *("--node-ip-address", host, "--port", port, "--temp-dir", str(self._places.temporary)),
            *("--num-cpus", "0", "--num-gpus", "0", "--object-store-memory", str(OBJECTS_BYTES)),
            *("--include-dashboard", "false", "--include-log-monitor", "false", "--disable-usage-stats"),
            *("--system-config", json.dumps({"gcs_rpc_server_reconnect_timeout_s": RECONNECT_S})),
        )

    def _start(self, *words: str, **variables: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self._python), *words],
            stdin=subprocess.DEVNULL,
            cwd=self._places.folder,
            env={**self._environment(), **variables},
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # before any thread is started, but for the health's
        )

    def _environment(self) -> dict[str, str]:
        """Ours, for a provider finds its credentials there; without what others set of Ray's and Python's."""
        others = ("RAY_", "ULTRAMARINE_", "PYTHON")
        plain = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(others) or name.startswith("ULTRAMARINE_TEST")
        }
        return plain | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._places.token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_gcs_storage": "rocksdb",
            "RAY_gcs_storage_path": str(self._places.storage),
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": self._name,
            "RAY_NODE_TYPE_NAME": "head",
        }


class Autoscaler:
    """Ray's autoscaler: there while its configuration is, started again when it ends or its provider is another."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._process: subprocess.Popen[bytes] | None = None
        self._provider: Mapping[str, Any] = {}  #: with which it was started
        self._last: Mapping[str, Any] = {}  #: as it was configured when that was last read
        self._read_at, self._start_at, self._retry_s, self._began = 0, 0.0, RETRY_S, 0.0

    def turn(self) -> None:
        provider, now = self._wanted(), time.monotonic()
        if self._process is not None and provider != self._provider:
            self.end()
        if self._process is not None and (code := self._process.poll()) is not None:
            self._retry_s = RETRY_S if now - self._began > GOOD_S else min(RETRY_S_MAX, self._retry_s * 2)
            say(f"the autoscaler has ended with {code}; it is started again in {self._retry_s:.2g} s")
            self._process, self._start_at = None, now + self._retry_s
        if self._process is None and provider and now >= self._start_at:
            self._process, self._provider, self._began = self._head.start_autoscaler(provider), provider, now

    def end(self) -> None:
        if self._process is not None:
            end(self._process)
            self._process = None

    def _wanted(self) -> Mapping[str, Any]:
        """The provider that is configured now; none: {}. The rest of the configuration it reads by itself."""
        try:
            written_at = self._head.configuration.stat().st_mtime_ns
            if written_at != self._read_at:
                self._last = json.loads(self._head.configuration.read_text())["provider"]
                self._read_at = written_at
        except FileNotFoundError:
            return {}
        return self._last


def serve(path: Path, is_well: Callable[[], bool]) -> None:
    """Answer 200 on the Unix socket `path` while `is_well()`, else 503."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if is_well() else 503)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Each second one question is nothing to be told of."""

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, Any]:
            request, _ = super().get_request()
            return request, ("the supervisor", 0)

    path.unlink(missing_ok=True)
    threading.Thread(target=Server(str(path), Answer).serve_forever, daemon=True).start()


def sweep(shelter: Path) -> None:
    """End what a life of the head has left, and wait for that: it holds the port, the storage, its files."""
    ours, deadline = re.compile(re.escape(os.fsencode(shelter)) + rb"[/\0]"), time.monotonic() + END_S
    while (found := _living(ours)) and time.monotonic() < deadline:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_S)


def _living(ours: re.Pattern[bytes]) -> list[int]:
    """Processes of our user with that in their command line."""
    found = list[int]()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if ours.search((folder / "cmdline").read_bytes()) and folder.stat().st_uid == os.geteuid():
                found.append(int(folder.name))
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} ray: {words}", file=sys.stderr, flush=True)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
