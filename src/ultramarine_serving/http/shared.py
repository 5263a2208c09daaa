"""What the connections of one server have in common, and what each says when its handler fails."""

from __future__ import annotations

import asyncio
import email.utils
import logging
from typing import Protocol

from ultramarine_serving.http.body import BodyBroken
from ultramarine_serving.http.messages import Handler, Limits, Request, Response, problem

log = logging.getLogger(__name__)


class Open(Protocol):
    """A connection, as the server sees it."""

    deadline: float

    def time_out(self) -> None: ...
    def close_when_idle(self) -> None: ...
    def abort(self) -> None: ...


class Shared:
    """What the connections of one server have in common."""

    def __init__(self, handler: Handler, limits: Limits, *, stream_bodies: bool) -> None:
        self.handler = handler
        self.limits = limits
        self.stream_bodies = stream_bodies
        self.connections: set[Open] = set()
        self.is_draining = False
        self.date_line = b""
        self._last_closed: asyncio.Future[None] | None = None
        self.set_date()

    def set_date(self) -> None:
        self.date_line = b"date: " + email.utils.formatdate(usegmt=True).encode()

    def forget(self, connection: Open) -> None:
        self.connections.discard(connection)
        if not self.connections and self._last_closed is not None and not self._last_closed.done():
            self._last_closed.set_result(None)

    async def all_closed(self) -> None:
        if self.connections:
            self._last_closed = asyncio.get_running_loop().create_future()
            await self._last_closed


def failure(request: Request, error: Exception) -> Response:
    if isinstance(error, BodyBroken):
        hint = "Send it again, whole and in time."
        return problem(error.status, "Body broken off", "The body did not arrive whole.", hint=hint, close=True)
    log.error("%s %s failed.", request.method, request.path, exc_info=error)
    hint = "Report it with the time of day."
    return problem(500, "Internal error", "This is a fault of the server; its log says more.", hint=hint)
