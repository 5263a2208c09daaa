"""The access log: one JSON object a line, appended. No query strings: they can hold codes and tokens."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable

from ultramarine_serving.http.messages import Request, Response


class AccessLog:
    """A file that all workers append to, a line at each write. Raises OSError where it cannot be opened."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    async def watch(self, listener: str, request: Request, result: Response | Awaitable[Response]) -> Response:
        """The response, written down as soon as its status is known. Status 499: the client went before that."""
        began = time.monotonic()
        status, id = 499, b""
        try:
            response = result if isinstance(result, Response) else await result
            status = response.status
            id = next((value for name, value in response.headers if name == b"x-request-id"), b"")
            return response
        finally:
            said = {
                "at": round(time.time(), 3),
                "listener": listener,
                "client": request.client,
                "method": request.method,
                "path": request.path,
                "status": status,
                "seconds": round(time.monotonic() - began, 6),
                "request_id": id.decode("latin-1"),
            }
            os.write(self._file, json.dumps(said).encode() + b"\n")

    def __del__(self) -> None:
        """After a reload the requests that began under this log still write to it; the last of them lets go of it."""
        if hasattr(self, "_file"):
            os.close(self._file)
