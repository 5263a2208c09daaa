"""A small, real control plane for the runner's tests: HTTP on a Unix socket; its memory outlives a restart."""

import hashlib
import json
import os
import random
import re
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
LOG = re.compile(r"/runner/v1/logs/([^/]+)/([^/]+)/([^/?]+)\?offset=(\d+)")
COLLECTED = re.compile(r"/runner/v1/collected/([^/]+)/([^?]+)\?offset=(\d+)")


def manifest(files: Mapping[str, bytes], kind: str = "folder") -> bytes:
    """Canonical JSON of a snapshot of these files."""
    entries = [
        {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "mode": 0o644}
        for path, content in sorted(files.items())
    ]
    return json.dumps({"files": entries, "kind": kind}, sort_keys=True, separators=(",", ":")).encode()


@dataclass
class Faults:
    """What the control plane does wrong."""

    drop: float = 0.0  #: share of answers that are dropped after they took effect
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    status: int | None = None  #: answer everything with this
    no_room: bool = False  #: refuse whatever is to be kept: 507
    bytes_max: int | None = None  #: of a file: refuse a larger one, 413
    refused: int = 0  #: how often that was
    when_taken: Callable[[bytes], None] | None = None  #: called with each blob before its sender hears of it
    cut: int | None = None  #: send only so many bytes of the next file, then hang up
    ranges: list[str] = field(default_factory=list[str])  #: the ranges of files that were asked for


class Control:
    """Everything that the runners of a test are told, and have told."""

    def __init__(self, socket_path: Path, *, lease_s: float = 60.0, beat_s: float = 0.5) -> None:
        self.socket_path = socket_path
        self.lease_s = lease_s
        self.beat_s = beat_s
        self.faults = Faults()
        self.changed = threading.Condition()
        self.desired: dict[str, dict[str, dict[str, Any]]] = {}  #: token -> run key -> entry
        self.etags: dict[str, int] = {}
        self.reported: dict[str, dict[str, Any]] = {}  #: token -> last report
        self.heard: dict[str, list[tuple[float, str]]] = {}  #: run key -> (when, phase), each change
        self.hellos: dict[tuple[str, int], dict[str, Any]] = {}
        self.logs: dict[tuple[str, str, str], bytearray] = {}
        self.collected: dict[tuple[str, str], bytearray] = {}  #: by run key and path
        self.refused_logs: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.taken: list[str] = []  #: blobs that runners have sent
        self.fenced: list[str] = []
        self.held: set[str] = set()  #: blobs of which nothing is said before they are released
        self.waiting: set[str] = set()  #: those of them that were asked for
        self.tool: bytes | None = None  #: the uv program
        self.requests = 0
        self._server: _Server | None = None

    # Its life

    def start(self) -> None:
        """Listen."""
        self.socket_path.unlink(missing_ok=True)
        self._server = _Server(str(self.socket_path), self)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Be gone: the socket too, and every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut()
            self.socket_path.unlink(missing_ok=True)

    # What a test tells it

    def keep(self, content: bytes) -> str:
        """Store a blob; its sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.blobs[sha256] = content
        return sha256

    def snapshot(self, files: Mapping[str, bytes], kind: str = "folder") -> str:
        """Store a snapshot; its sha256."""
        for content in files.values():
            self.keep(content)
        return self.keep(manifest(files, kind))

    def want(self, token: str, runs: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Change entries of a node's desired state; None takes one away."""
        with self.changed:
            entries = self.desired.setdefault(token, {})
            for key, entry in runs.items():
                if entry is None:
                    entries.pop(key, None)
                else:
                    entries[key] = {**entries.get(key, {}), **entry}
            self.etags[token] = self.etags.get(token, 0) + 1
            self.changed.notify_all()

    def release(self, sha256: str) -> None:
        """Give a blob that was held."""
        with self.changed:
            self.held.discard(sha256)
            self.changed.notify_all()

    # What a test waits for

    def wait(self, what: Callable[[], T | None], *, within_s: float = 20.0, words: str = "") -> T:
        """The first answer of `what` that is true, looked at whenever something was reported."""
        deadline = time.monotonic() + within_s
        with self.changed:
            while not (found := what()):
                left = deadline - time.monotonic()
                assert left > 0, (
                    f"Not within {within_s} s: {words or what}. Last reports: {json.dumps(self.reported)[-3000:]}"
                )
                self.changed.wait(min(left, 0.2))
            return found

    def run(self, key: str) -> dict[str, Any]:
        """A run as it was last reported; {} when it was not."""
        for report in self.reported.values():
            if key in report["runs"]:
                run: dict[str, Any] = report["runs"][key]
                return run
        return {}

    def phase(self, key: str, *phases: str, within_s: float = 20.0) -> dict[str, Any]:
        """Wait until a run is in one of these phases; the run."""
        return self.wait(
            lambda: run if (run := self.run(key)).get("phase") in phases else None,
            within_s=within_s,
            words=f"{key} in {phases}",
        )

    def ended(self, key: str, *, within_s: float = 20.0) -> dict[str, Any]:
        """Wait until a run has ended; its `ended`."""
        ended: dict[str, Any] = self.phase(key, "ended", within_s=within_s)["ended"]
        return ended

    def log(self, key: str, rank: str = "0", file: str = "std_log.txt") -> str:
        """What was shipped."""
        return self.logs.get((key, rank, file), bytearray()).decode()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str, control: Control) -> None:
        self.control = control
        self._connections: set[Any] = set()
        super().__init__(path, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        for connection in list(self._connections):
            self.shutdown_request(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        return


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        control, body = self._begin()
        message = json.loads(body)
        who = (message["allocation"], message["rank"])
        with control.changed:
            first = control.hellos.setdefault(who, message)
            control.changed.notify_all()
        if first["nonce"] != message["nonce"]:
            self._answer(409, {"detail": "Another runner has this node."})
        elif message["join_secret"] != "secret":
            self._answer(401, {"detail": "Unknown."})
        else:
            token = f"{who[0]}-{who[1]}"
            self._answer(200, {"node_token": token, "lease_s": control.lease_s, "beat_s": control.beat_s})

    def do_GET(self) -> None:
        control, _ = self._begin()
        if self.path.startswith("/runner/v1/files/"):
            self._give_blob(control)
            return
        if self.path.startswith("/runner/v1/tools/uv/"):
            self._answer(200 if control.tool else 404, control.tool or {"detail": "No uv for this platform."})
            return
        found = re.search(r"etag=(\w*)&wait=(\d+)", self.path)
        assert found
        etag, deadline = found.group(1), time.monotonic() + float(found.group(2))
        with control.changed:
            while (now := str(control.etags.get(self.token, 0))) == etag and time.monotonic() < deadline:
                control.changed.wait(0.5)
                if control is not self.server.control or self.wfile.closed:
                    return
            runs = json.loads(json.dumps(control.desired.get(self.token, {})))
        if now == etag:
            self._answer(304, None)
        else:
            self._answer(200, {"etag": now, "runs": runs})

    def do_HEAD(self) -> None:
        control, _ = self._begin()
        sha256 = self.path.rpartition("/")[2]
        self._wait_while_held(control, sha256)
        self._answer(200 if sha256 in control.blobs else 404, None)

    def do_PUT(self) -> None:
        control, body = self._begin()
        if self.path == "/runner/v1/reported":
            self._take_report(control, json.loads(body))
        elif control.faults.no_room:
            control.faults.refused += 1
            self._answer(507, {"detail": "The disk is full."})
        elif control.faults.bytes_max is not None and len(body) > control.faults.bytes_max:
            self._answer(413, {"detail": "The file is too large."})
        elif self.path.startswith("/runner/v1/files/"):
            sha256 = self.path.rpartition("/")[2]
            if hashlib.sha256(body).hexdigest() != sha256:
                self._answer(400, {"detail": "Another content than its name says."})
            else:
                control.blobs[sha256] = body
                control.taken.append(sha256)
                if control.faults.when_taken is not None:
                    control.faults.when_taken(body)
                self._answer(200, {})
        else:
            self._take_log(control, body)

    @property
    def token(self) -> str:
        return self.headers["Authorization"].removeprefix("Bearer ")

    def _begin(self) -> tuple[Control, bytes]:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.control.requests += 1
        return self.server.control, body

    def _take_report(self, control: Control, report: dict[str, Any]) -> None:
        with control.changed:
            control.reported[self.token] = report
            for key, run in report["runs"].items():
                heard = control.heard.setdefault(key, [])
                if not heard or heard[-1][1] != run["phase"]:
                    heard.append((time.monotonic(), run["phase"]))
            control.changed.notify_all()
        etag = str(control.etags.get(self.token, 0))
        self._answer(200, {"etag": etag, "lease_s": control.lease_s, "fenced": control.fenced})

    def _take_log(self, control: Control, body: bytes) -> None:
        found = LOG.fullmatch(self.path)
        if found is not None:
            key, rank, file, offset = found.groups()
            self._append(control, key, body, offset, to=lambda: control.logs.setdefault((key, rank, file), bytearray()))
            return
        found = COLLECTED.fullmatch(self.path)
        assert found
        key, path, offset = found.groups()
        self._append(control, key, body, offset, to=lambda: control.collected.setdefault((key, path), bytearray()))

    def _append(self, control: Control, key: str, body: bytes, offset: str, *, to: Callable[[], bytearray]) -> None:
        if key in control.refused_logs:
            self._answer(404, {"detail": "Not known."})
            return
        with control.changed:
            kept = to()
            fits = int(offset) == len(kept)
            if fits:
                kept += body
            control.changed.notify_all()
        self._answer(200 if fits else 409, {"size": len(kept)})

    def _wait_while_held(self, control: Control, sha256: str) -> None:
        with control.changed:
            while sha256 in control.held:
                control.waiting.add(sha256)
                control.changed.notify_all()
                control.changed.wait(1.0)

    def _give_blob(self, control: Control) -> None:
        sha256 = self.path.rpartition("/")[2]
        self._wait_while_held(control, sha256)
        content = control.blobs.get(sha256)
        if content is None:
            self._answer(404, {"detail": "No such file."})
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked:
            control.faults.ranges.append(asked.group(0))
        cut, control.faults.cut = control.faults.cut, None
        if cut is not None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:cut])
            self.close_connection = True
            return
        self._answer(206 if asked else 200, content[int(asked.group(1)) :] if asked else content)

    def _answer(self, status: int, body: Any) -> None:
        faults = self.server.control.faults
        if faults.status is not None:
            status, body = faults.status, {"detail": "As the test wants it."}
        if faults.drop and faults.dice.random() < faults.drop:
            self.close_connection = True
            return
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        return


def end_process(pid: int, number: int) -> None:
    """Signal a process; one that is gone is no matter."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
