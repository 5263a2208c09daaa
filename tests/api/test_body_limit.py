"""Bodies that are too large are refused before they are read."""

from collections.abc import AsyncIterator

from starlette.types import Message, Receive, Scope, Send
from tests.api.conftest import Api

from ultramarine.api.body import BodyLimit


async def _reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    more = True
    while more:
        more = bool((await receive()).get("more_body"))
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def _status(path: str, pieces: int) -> int:
    """What a body of so many pieces of 100 bytes is answered with, under a limit of 1,000."""

    async def body() -> AsyncIterator[Message]:
        for number in range(pieces):
            yield {"type": "http.request", "body": b"x" * 100, "more_body": number + 1 < pieces}

    messages = body()
    sent: list[Message] = []

    async def receive() -> Message:
        return await anext(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    app = BodyLimit(_reads_all, bytes_max=1000, streaming=("/blobs/",))
    try:
        await app({"type": "http", "path": path}, receive, send)
    except Exception as refused:
        return getattr(refused, "status_code", 500)
    return int(sent[0]["status"])


async def test_a_body_within_the_limit_passes():
    assert await _status("/api/v1/tokens", 10) == 200


async def test_a_body_over_the_limit_is_refused_though_its_length_was_not_told():
    assert await _status("/api/v1/tokens", 11) == 413


async def test_files_are_not_counted_here():
    assert await _status("/api/v1/workspaces/w/blobs/abc", 50) == 200


async def test_a_large_specification_is_413_with_words(api: Api):
    answer = await api.ask("PUT", "/api/v1/workspaces/w/jobs/j", content=b"[" + b"0," * (5 * 1024**2) + b"0]")
    assert answer.status_code == 413
    assert "more than 8388608 bytes" in answer.json()["detail"]
