"""A constant load on an endpoint: so many requests a second whatever becomes of them, and what became of each.

Open loop: a server that is slow gets no fewer requests for it, and a request's time counts from when it was due.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

PIN = "azureml-model-deployment"
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 0: no answer; `words` says why, or holds the body of one that is not 200."""

    at: float
    seconds: float
    status: int
    deployment: str = ""
    words: str = ""
    content: bytes = b""


@dataclass(kw_only=True)
class Load:
    """`with Load(...) as load:` sends in a thread until the block ends, then waits for what is under way."""

    uri: str
    key: str
    body: bytes
    rate: float  #: requests a second
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    expected: Any = None  #: what every answer of 200 must hold, as JSON; None: anything
    answers: list[Answer] = field(default_factory=list[Answer])

    def __enter__(self) -> Self:
        parts = urlsplit(self.uri)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        fields = {"Host": parts.netloc, "Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        fields |= {**self.headers, "Content-Length": str(len(self.body))}
        lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self._request = "\r\n".join(lines).encode() + self.body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join()

    async def _run(self) -> None:
        begun, sent = time.monotonic(), 0
        under_way: set[asyncio.Task[None]] = set()
        while not self._is_over.is_set():
            due = begun + sent / self.rate
            if (wait_s := due - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            task = asyncio.create_task(self._one(due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            sent += 1
        await asyncio.gather(*under_way)
        for _, writer in self._idle:
            writer.close()

    async def _one(self, due: float) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, deployment, content = await self._ask()
        except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.answers.append(Answer(due, time.monotonic() - due, 0, words=repr(error)))
            return
        wrong = "" if status == 200 else content.decode("utf-8", "replace")
        if status == 200 and self.expected is not None and json.loads(content) != self.expected:
            wrong = f"a wrong answer: {content[:200]!r}"
        self.answers.append(Answer(due, time.monotonic() - due, status, deployment, wrong, content))

    async def _ask(self) -> tuple[int, str, bytes]:
        while self._idle and self._idle[-1][0].at_eof():  # the other side has closed it, which any client sees
            self._idle.pop()[1].close()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            content = await reader.readexactly(int(fields.get("content-length", 0)))
        except BaseException:
            writer.close()
            raise
        if fields.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head[0].split(" ")[1]), fields.get(PIN, ""), content

    # What became of them

    @property
    def failed(self) -> list[Answer]:
        """Those that were not answered as they should."""
        return [answer for answer in list(self.answers) if answer.status != 200 or answer.words]

    def since(self, moment: float) -> list[Answer]:
        return [answer for answer in list(self.answers) if answer.at >= moment]

    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in list(self.answers))

    def told(self) -> str:
        """In a line: how many, how quick, what went wrong."""
        took = sorted(answer.seconds for answer in self.answers)
        if not took:
            return "no request was sent"
        p50, p99 = took[len(took) // 2], took[min(len(took) - 1, len(took) * 99 // 100)]
        wrong = Counter((answer.status, answer.words[:120]) for answer in self.failed)
        return f"{len(took)} requests, p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, failed: {dict(wrong) or 0}"


def shares(answers: list[Answer]) -> dict[str, float]:
    """Who answered, in percent."""
    counts = Counter(answer.deployment for answer in answers if answer.status == 200)
    return {name: 100 * count / counts.total() for name, count in counts.items()}
