"""A control plane that knows environments and one instance, as that asks it. It can be told to be silent."""

import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "the-token-of-this-run"
WORKSPACE = "default"
ROOT = f"/api/v1/workspaces/{WORKSPACE}/environments"
MINE = f"/api/v1/workspaces/{WORKSPACE}/computes/mine"


class ControlPlane(ThreadingHTTPServer):
    """`locks` by `name:version`; each has what the real one answers for a lock. `newest` are listed."""

    daemon_threads = True

    def __init__(self) -> None:
        self.locks: dict[str, Mapping[str, Any]] = {}
        self.newest: list[str] = []
        self.curated: set[str] = set()
        self.asked: list[str] = []
        self.is_silent = False
        self.instance: dict[str, Any] = {"stops_at": None, "awake_until": None}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def view(self, label: str, status: str = "Succeeded") -> dict[str, Any]:
        name, _, version = label.partition(":")
        lock = self.locks[label]
        more = {"digest": lock["digest"], "python": lock["python"], "packages": 1}
        more |= {"accelerators": lock["accelerators"]} if "accelerators" in lock else {}
        return {"name": name, "version": version, "status": status, "is_curated": label in self.curated, **more}

    def answer(self, path: str) -> tuple[int, Any]:
        rest, _, query = path.partition("?")
        if rest == MINE:
            return 200, {"name": "mine", "instance": self.instance}
        if rest == ROOT:  # in pages of two
            after = next((part[6:] for part in query.split("&") if part.startswith("after=")), "")
            begin = int(after or 0)
            rows = [self.view(label) for label in self.newest[begin : begin + 2]]
            return 200, {"value": rows, "next": str(begin + 2) if begin + 2 < len(self.newest) else None}
        name, _, version = rest.removeprefix(f"{ROOT}/").partition("/versions/")
        label = f"{name}:{version.removesuffix('/lock')}"
        if label not in self.locks:
            return 404, {"detail": f"There is no environment {label}.", "hint": "um environment list"}
        return 200, self.locks[label] if version.endswith("/lock") else self.view(label)

    def keep_awake(self, path: str, body: Any) -> tuple[int, Any]:
        assert path == f"{MINE}/keep-awake"
        until = (datetime.now(UTC) + timedelta(hours=body["hours"])).isoformat()
        self.instance = {"stops_at": until, "awake_until": until}
        return 200, {"name": "mine", "instance": self.instance}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, ControlPlane)
        self._answer(self.server, self.server.answer)

    def do_POST(self) -> None:
        assert isinstance(self.server, ControlPlane)
        told: Any = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        plane = self.server
        self._answer(plane, lambda path: plane.keep_awake(path, told))

    def _answer(self, plane: ControlPlane, answer: Callable[[str], tuple[int, Any]]) -> None:
        plane.asked.append(self.path)
        if plane.is_silent:
            self.close_connection = True
            return
        status, body = 401, dict[str, Any]()
        if self.headers["Authorization"] == f"Bearer {TOKEN}":
            status, body = answer(self.path)
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def answering() -> Generator[ControlPlane]:
    with ControlPlane() as control:
        thread = threading.Thread(target=control.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield control
        finally:
            control.shutdown()
            thread.join()
