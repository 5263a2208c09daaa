"""Server-sent events on the wire."""

import json
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse

from ultramarine.api import views
from ultramarine.services.streams import Message


def answer(messages: AsyncIterator[Message]) -> StreamingResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_lines(messages), media_type="text/event-stream", headers=headers)


async def _lines(messages: AsyncIterator[Message]) -> AsyncIterator[str]:
    async for message in messages:
        if message.news is None:
            yield ": still here\n\n"
            continue
        place = "" if message.id is None else f"id: {message.id}\n"
        yield f"event: {message.event}\n{place}data: {json.dumps(views.news(message.news))}\n\n"
