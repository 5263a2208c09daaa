"""A replica that costs next to nothing: it answers its name to everything, `--ms` later.

python benchmarks/replica.py SOCKET NAME [--port PORT] [--ms 0]

After SIGTERM it answers what it has got, takes nothing new, and goes.
"""

import argparse
import asyncio
import signal
from typing import cast

import uvloop

LENGTH = b"content-length: "


class Replica(asyncio.Protocol):
    def __init__(self, answer: bytes, ms: float) -> None:
        self._answer, self._ms = answer, ms
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """One request after the other, each of them small."""
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, rest = self._data.partition(b"\r\n\r\n")
            said = head.lower().partition(LENGTH)[2].partition(b"\r\n")[0]
            length = int(said or b"0")
            if len(rest) < length:
                return
            self._data = rest[length:]
            if not self._ms or head.startswith(b"GET "):  # a probe
                self._transport.write(self._answer)
                continue
            asyncio.get_running_loop().call_later(self._ms / 1000, self._transport.write, self._answer)


async def serve(socket: str, name: str, *, port: int, ms: float) -> None:
    body = name.encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    listening = await loop.create_unix_server(lambda: Replica(head + body, ms), socket, backlog=1024)
    if port:
        await loop.create_server(lambda: Replica(head + body, ms), "127.0.0.1", port, backlog=1024)
    await stop.wait()
    listening.close()
    await asyncio.sleep(ms / 1000 + 0.1)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("socket")
    arguments.add_argument("name")
    arguments.add_argument("--port", type=int, default=0, help="listen here too")
    arguments.add_argument("--ms", type=float, default=0.0, help="how long a request takes")
    given = arguments.parse_args()
    uvloop.run(serve(given.socket, given.name, port=given.port, ms=given.ms))


if __name__ == "__main__":
    main()
