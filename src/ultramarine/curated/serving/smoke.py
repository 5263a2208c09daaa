"""The event loop turns, the parser parses, JSON is read."""

import asyncio

import httptools
import msgspec
import uvloop


class Seen:
    def __init__(self) -> None:
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url


async def turn() -> str:
    await asyncio.sleep(0)
    return type(asyncio.get_running_loop()).__module__


loop = uvloop.new_event_loop()
assert loop.run_until_complete(turn()).startswith("uvloop")
loop.close()
seen = Seen()
httptools.HttpRequestParser(seen).feed_data(b"GET /score HTTP/1.1\r\nhost: x\r\n\r\n")
assert seen.url == b"/score"
assert msgspec.json.decode(b'{"a": [1.5]}') == {"a": [1.5]}
