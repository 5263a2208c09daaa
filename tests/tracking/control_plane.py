"""A small real HTTP server on a Unix socket that answers as the control plane does when MLflow asks for a run."""

import json
import socketserver
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

SECRET = "a secret of this test"


class ControlPlane:
    """Knows the runs in `runs`, by id; `asked` counts the questions for each; `is_down` makes it answer 500.

    With a barrier as `together`, nobody is answered before so many have asked.
    """

    def __init__(self, home: Path) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.asked: Counter[str] = Counter()
        self.is_down = False
        self.together: threading.Barrier | None = None
        (home / "run").mkdir(parents=True, exist_ok=True)
        (home / "run" / "internal.secret").write_text(SECRET + "\n")
        control = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                secret = self.headers.get("X-Ultramarine-Internal", "")
                if self.path == "/internal/tracking/workspaces":
                    self._answer(*control.workspaces(secret))
                    return
                run_id = self.path.removeprefix("/internal/tracking/runs/")
                control.asked[run_id] += 1
                self._answer(*control.answer(run_id, secret))

            def _answer(self, status: int, body: object) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def address_string(self) -> str:
                return "mlflow"

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = socketserver.ThreadingUnixStreamServer(str(home / "run" / "control.sock"), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def workspaces(self, secret: str) -> tuple[int, object]:
        if self.is_down:
            return 500, {}
        return (200, ["default", "team-a", "team-b"]) if secret == SECRET else (401, {})

    def answer(self, run_id: str, secret: str) -> tuple[int, object]:
        if self.together is not None:
            self.together.wait(timeout=4)
        if self.is_down:
            return 500, {}
        if secret != SECRET:
            return 401, {}
        return (200, self.runs[run_id]) if run_id in self.runs else (404, {})

    def add(self, run_id: str, *, workspace: str = "default", experiment: str = "iris", **more: Any) -> str:
        known = {
            "id": run_id,
            "workspace": workspace,
            "experiment": experiment,
            "name": f"job-{run_id[:4]}",
            "user": "ada",
        }
        self.runs[run_id] = {
            **known,
            "started_at_ms": 1_764_000_000_000,
            "tags": {"ultramarine.compute": "local"},
            **more,
        }
        return run_id

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
