"""A small forwarder in the gateway's place: a token on a TCP port becomes a workspace on MLflow's socket."""

import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Upstream(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("mlflow", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Gateway:
    """`tokens` says which workspace a token is good for, `runs` whose run's own it is; `requests` is what was asked."""

    def __init__(self, upstream: Path, tokens: dict[str, str]) -> None:
        self.requests: list[str] = []
        self.runs: dict[str, str] = {}
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                token = self.headers.get("authorization", "").removeprefix("Bearer ")
                workspace = tokens.get(token)
                if workspace is None:
                    self._answer(401, b"", "text/plain")
                    return
                headers = {"X-MLFLOW-WORKSPACE": workspace, "Content-Type": self.headers.get("content-type", "")}
                if token in gateway.runs:
                    headers["X-Ultramarine-Run"] = gateway.runs[token]
                gateway.requests.append(f"{self.command} {self.path}")
                connection = _Upstream(upstream)
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                self._answer(answer.status, answer.read(), answer.headers.get("content-type", ""))
                connection.close()

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.send_header("content-type", kind)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.forward)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
