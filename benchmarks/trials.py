"""What is done to a proxy under load, and what its clients saw of it: other weights, a replica killed, one drained."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.proxies import KEYS, PATH, Proxy, Routes

CLIENTS = 8
BODY = b'{"data": [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]}'
REQUEST = (
    f"POST {PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEYS[1]}\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
).encode() + BODY


class Replicas:
    """Processes of benchmarks/replica.py, by deployment."""

    def __init__(self, folder: Path, many: Mapping[str, int], *, ms: float = 0, port: int = 0) -> None:
        """`port`: the first one listens there too, to be asked directly."""
        folder.mkdir(parents=True, exist_ok=True)
        self._ms = ms
        self._processes: dict[Path, subprocess.Popen[bytes]] = {}
        self.sockets: dict[str, list[Path]] = {}
        for name, count in many.items():
            self.sockets[name] = [folder / f"{name}-{i}.sock" for i in range(count)]
            for each in self.sockets[name]:
                self.start(each, port=port)
                port = 0

    def start(self, socket: Path, *, port: int = 0) -> None:
        socket.unlink(missing_ok=True)
        program = str(Path(__file__).with_name("replica.py"))
        words = (sys.executable, program, str(socket), socket.stem, "--port", str(port), "--ms", str(self._ms))
        self._processes[socket] = subprocess.Popen(words)
        deadline = time.monotonic() + 20
        while not socket.exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{socket} does not come up")
            time.sleep(0.01)

    def end(self, socket: Path, how: signal.Signals) -> None:
        """SIGTERM: what it has got is answered."""
        self._processes[socket].send_signal(how)
        self._processes[socket].wait(10)

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


@dataclass(slots=True)
class Seen:
    """By clients. `failed`: statuses that were no 200, and connections that broke off (0)."""

    count: int = 0  #: answered
    answers: Counter[str] = field(default_factory=Counter[str])  #: by replica
    failed: Counter[int] = field(default_factory=Counter[int])
    late: int = 0  #: of those that failed: asked when a killed replica was dead already

    def share(self, deployment: str) -> float:
        """In percent."""
        its = sum(count for name, count in self.answers.items() if name.startswith(deployment))
        return 100 * its / max(1, self.count)


class Load:
    """Clients that ask again as soon as they are answered, each on its own connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.seen = Seen()
        self._is_over = False
        self._awaited = (0, asyncio.Event())
        self.is_one_dead = False  #: a replica was killed, and is not back yet

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        clients = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            self._is_over = True
            await asyncio.gather(*clients)

    async def until(self, count: int) -> None:
        """That so many were answered."""
        self._awaited = (count, asyncio.Event())
        await self._awaited[1].wait()

    async def until_in_use(self, replica: str) -> None:
        """That one of two gives a third of the answers at least. Raises RuntimeError."""
        for _ in range(200):
            before = self.seen.answers[replica]
            await self.until(self.seen.count + 150)
            if self.seen.answers[replica] - before >= 50:
                return
        raise RuntimeError(f"{replica} is not used again")

    async def _client(self) -> None:
        while not self._is_over:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                self.seen.failed[0] += 1
                continue
            while not self._is_over and await self._ask(reader, writer):
                pass
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """False: the connection broke off."""
        is_late = self.is_one_dead
        try:
            status, body = await _exchange(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            status, body = 0, b""
        if status == 200:
            self.seen.answers[body.decode()] += 1
            self.seen.count += 1
        else:
            self.seen.failed[status] += 1
            self.seen.late += is_late
        if self.seen.count >= self._awaited[0]:
            self._awaited[1].set()
        return status != 0


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
    """Status and body. Raises OSError, IncompleteReadError."""
    writer.write(REQUEST)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


async def weights(proxy: Proxy, *, requests: int) -> Seen:
    """90 to 10."""
    load = Load(proxy.port)
    async with load.running():
        await load.until(requests)
    return load.seen


async def changes(proxy: Proxy, routes: Routes, *, times: int) -> Seen:
    """Other weights and other replicas, again and again."""
    load = Load(proxy.port)
    async with load.running():
        for turn in range(times):
            share = 90 if turn % 2 else 10
            now = replace(routes, traffic={"blue": share, "green": 100 - share})
            await asyncio.to_thread(proxy.publish, now if turn % 3 else now.without(routes.replicas["blue"][0]))
            await asyncio.sleep(0.1)
        await asyncio.to_thread(proxy.publish, routes)
        await asyncio.sleep(0.2)
    return load.seen


async def kill(proxy: Proxy, replicas: Replicas, *, times: int) -> Seen:
    """`kill -9` of one of two replicas, and a new one in its place.

    It is killed when it has its part of the requests again: how long that takes is not the same for all. Clients that
    are answered together ask together: each kill comes at another point of the 5 ms that a request takes.
    """
    victim = replicas.sockets["blue"][1]
    load = Load(proxy.port)
    async with load.running():
        for turn in range(times):
            await load.until_in_use(victim.stem)
            await asyncio.sleep(0.005 * turn / times)
            await asyncio.to_thread(replicas.end, victim, signal.SIGKILL)
            load.is_one_dead = True
            await asyncio.sleep(0.3)
            await asyncio.to_thread(replicas.start, victim)
            load.is_one_dead = False
    return load.seen


async def drain(proxy: Proxy, routes: Routes, replicas: Replicas, *, times: int) -> Seen:
    """Out of the routes, half a second, SIGTERM; a new one in its place, into the routes."""
    victim = replicas.sockets["blue"][1]
    load = Load(proxy.port)
    async with load.running():
        for _ in range(times):
            await load.until(load.seen.count + 500)
            await asyncio.to_thread(proxy.publish, routes.without(victim))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(replicas.end, victim, signal.SIGTERM)
            await asyncio.to_thread(replicas.start, victim)
            await asyncio.to_thread(proxy.publish, routes)
            await asyncio.sleep(0.2)
    return load.seen


def told(failed: Counter[int], count: int) -> str:
    words: Sequence[str] = [f"{many} × {status or 'broken off'}" for status, many in sorted(failed.items())]
    return f"{failed.total()} of {count + failed.total()}" + (f" ({', '.join(words)})" if words else "")
