"""What answers on the control plane's socket: the API while this server leads, else the words why it does not."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ultramarine.api import problem
from ultramarine.domain.errors import StandsBy
from ultramarine.server.seat import Seat


class Door:
    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._is_settled = False  #: it has led or stood by: from then on its health hangs on no database
        self.app: ASGIApp | None = None  #: made when it begins to lead

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/healthz":
            await self._health()(scope, receive, send)
        elif self.app is not None and self._seat.is_ours:
            await self.app(scope, receive, send)
        else:
            refused = await problem.answer(Request(scope), self._seat.why)
            await refused(scope, receive, send)

    def _health(self) -> Response:
        self._is_settled = self._is_settled or self.app is not None or isinstance(self._seat.why, StandsBy)
        return PlainTextResponse("ok\n" if self._is_settled else "starting\n", 200 if self._is_settled else 503)
