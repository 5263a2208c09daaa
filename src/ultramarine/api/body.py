"""Reading raw request bodies."""

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ultramarine.domain.errors import TooLarge


async def limited(request: Request, bytes_max: int) -> bytes:
    """The whole body, or `TooLarge` as soon as it is past the limit."""
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) > bytes_max:
            raise TooLarge(f"The request has more than {bytes_max} bytes.", hint="Send it in smaller parts.")
    return bytes(held)


class BodyLimit:
    """Refuses large bodies before they are read into memory, and so before anybody has signed in.

    Files are streamed by their own routes, which have limits of their own. FastAPI's `max_body_size` is not taken: it
    answers in plain text, before any handler of ours, and an error without a hint is none of ours.
    """

    def __init__(self, app: ASGIApp, *, bytes_max: int, streaming: tuple[str, ...]) -> None:
        self._app, self._bytes_max, self._streaming = app, bytes_max, streaming

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(part in scope["path"] for part in self._streaming):
            await self._app(scope, receive, send)
            return
        left = self._bytes_max

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"The request has more than {self._bytes_max} bytes")
            return message

        await self._app(scope, counted, send)
