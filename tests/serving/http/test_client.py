"""The client's pool of connections, beside servers that close them."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ultramarine_serving.http.client import Broken, NotConnected, Pool, TooSlow
from ultramarine_serving.http.server import Address

from .talking import until

REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n"


class Closing:
    """Answers `ok` to all, and hangs up when it is told to; `asked` of each connection it got."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.asked: list[int] = []
        self.is_silent = False
        self._sockets: list[socket.socket] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.asked)
        self.asked.append(0)
        self._sockets.append(writer.get_extra_info("socket"))
        while await reader.read(65536):
            self.asked[number] += 1
            if not self.is_silent:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    def hang_up(self) -> None:
        """As the kernel does for a process that is killed: whoever is connected may not have noticed yet."""
        for each in self._sockets:
            each.shutdown(socket.SHUT_RDWR)

    def vanish(self) -> None:
        self._path.unlink()
        self.hang_up()


@pytest.fixture
async def closing() -> AsyncIterator[tuple[Closing, Pool]]:
    with tempfile.TemporaryDirectory(prefix="ht") as folder:
        path = Path(folder) / "a.sock"
        made = Closing(path)
        server = await asyncio.start_unix_server(made, path)
        pool = Pool(Address(path=str(path)), idle_s=60)
        yield made, pool
        pool.close()
        server.close()


async def ask(pool: Pool, *, timeout_s: float = 0) -> bytes:
    answer = await pool.ask(REQUEST, b"[]", timeout_s=timeout_s)
    return await answer.body.read_all(10)


async def test_a_request_that_found_its_connection_closed_was_not_sent_and_goes_by_a_new_one(
    closing: tuple[Closing, Pool],
):
    upstream, pool = closing
    assert await asyncio.gather(*(ask(pool) for _ in range(3))) == [b"ok"] * 3
    upstream.hang_up()
    assert await ask(pool) == b"ok"  # nothing was awaited in between: the pool still thinks it has three
    assert upstream.asked == [1, 1, 1, 1]


async def test_where_no_new_one_can_be_made_it_may_be_sent_elsewhere(closing: tuple[Closing, Pool]):
    upstream, pool = closing
    assert await ask(pool) == b"ok"
    upstream.vanish()
    with pytest.raises(NotConnected, match="no such socket"):
        await ask(pool)


async def test_what_was_sent_before_the_connection_was_closed_is_not_sent_again(closing: tuple[Closing, Pool]):
    upstream, pool = closing
    assert await ask(pool) == b"ok"
    upstream.is_silent = True
    asking = asyncio.create_task(ask(pool))
    await until(lambda: upstream.asked == [2])
    upstream.hang_up()
    with pytest.raises(Broken):
        await asking
    assert upstream.asked == [2]


async def test_an_answer_that_does_not_come_is_given_up_and_its_connection_too(closing: tuple[Closing, Pool]):
    upstream, pool = closing
    upstream.is_silent = True
    with pytest.raises(TooSlow, match=r"no answer in 0\.05 s"):
        await ask(pool, timeout_s=0.05)
    upstream.is_silent = False
    assert await ask(pool, timeout_s=60) == b"ok"
    assert upstream.asked == [1, 1]
