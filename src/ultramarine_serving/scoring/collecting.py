"""What goes in and out is kept as files, beside the answers: no request waits for it, and none fails with it.

A request costs a place in a bounded queue. One thread makes lines of what is there, gives the interpreter away after
a few of them, and writes them every now and then in one piece. What does not fit is left out, counted and said.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

from ultramarine_serving.http.server import Request, Response

from .collected_files import Rolled, Room
from .options import Collecting
from .records import OF_MODEL, PAYLOADS, Exchange, Frame, Origin

log = logging.getLogger("collector")

CORRELATION = b"x-ultramarine-correlation"  #: how a script's own calls know their request; never sent anywhere
_WAITING_BYTES = 32 * 1024 * 1024
_WAITING_MAX = 20_000
_GATHER_S = 0.1
_TURN_S, _TURN_MORE_S = 0.0005, 0.01  #: after so long the interpreter is given away
_FLUSH_S = 1.0  #: a line waits no longer for others, however many there are
_RETRY_S = 10.0  #: after a disk that was full, or a folder that is gone
_SAY_S = 60.0  #: so often at most it is said that records are left out
_CLOSE_S = 5.0
_BITS = 128
_COLLECTING = "collecting"
OFF: Mapping[str, object] = {"state": "off"}

Answer = Union[Response, "asyncio.Future[Response]"]
Score = Callable[[Request], Answer]


class Collector:
    """Takes what passes by. `close` writes what is left."""

    def __init__(self, settings: Collecting, model_version: str, *, has_script: bool) -> None:
        self.settings = settings
        self._origin = Origin(settings.source, model_version, settings.headers)
        self._files = {name: Rolled(settings.folder / name, rolling=settings.rolling) for name in settings.collections}
        self._room = Room(settings.folder, bytes_max=settings.bytes_max)
        # A script collects its model's inputs and outputs itself: only it knows what they are.
        own = settings.collections.keys() & (PAYLOADS if has_script else PAYLOADS | OF_MODEL)
        self._taken = {name: settings.collections[name] for name in own}
        self._share = max(self._taken.values(), default=0.0)
        self._marks = has_script and bool(settings.collections.keys() - own)
        self._bits = random.Random().getrandbits  # noqa: S311 (who guesses it gains nothing)
        self._lock = threading.Lock()
        self._queue: deque[tuple[Exchange | Frame, int]] = deque()
        self._waiting_bytes = 0
        self._wake = threading.Event()
        self._is_closing = False
        self._retry_at = 0.0
        self._flush_at = 0.0
        self._state = _COLLECTING
        self._left_out = 0
        self._said, self._say_at = 0, 0.0
        self._thread = threading.Thread(target=self._work, name="collector", daemon=True)
        self._thread.start()

    # In the threads of requests

    def around(self, score: Score) -> Score:
        """The same, with what it is given and what it answers taken."""

        def taken(request: Request) -> Answer:
            bits = self._bits(_BITS)
            if self._marks:
                request.headers.append((CORRELATION, b"%032x" % bits))
            when_s = time.time()
            answer = score(request)
            if not is_in(bits, self._share):
                return answer
            if isinstance(answer, Response):
                self._take(request, answer, when_s, bits)
            else:
                answer.add_done_callback(lambda done: self._take_done(request, done, when_s, bits))
            return answer

        return taken

    def put(self, record: Exchange | Frame, size: int) -> bool:
        """Take it, if there is room for it."""
        with self._lock:
            if self._waiting_bytes + size > _WAITING_BYTES or len(self._queue) >= _WAITING_MAX:
                self._left_out += 1
                return False
            self._waiting_bytes += size
            self._queue.append((record, size))
        if not self._wake.is_set():
            self._wake.set()
        return True

    def _take_done(self, request: Request, done: asyncio.Future[Response], when_s: float, bits: int) -> None:
        if not done.cancelled() and done.exception() is None:
            self._take(request, done.result(), when_s, bits)

    def _take(self, request: Request, response: Response, when_s: float, bits: int) -> None:
        wanted = frozenset(name for name, share in self._taken.items() if is_in(bits, share))
        exchange = Exchange(request, response, when_s, correlation_of(bits), wanted)
        self.put(exchange, exchange.size)

    def figures(self) -> Mapping[str, object]:
        """For people and programs that look: lines written by collection, and what was left out."""
        return {
            "state": self._state,
            "written": {name: file.written for name, file in self._files.items()},
            "left_out": self._all_left_out,
            "waiting": len(self._queue),
        }

    def close(self) -> None:
        """Write what is left. What cannot be written within a few seconds is lost."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(_CLOSE_S)

    # In the collector's own thread

    def _work(self) -> None:
        while not self._is_closing:
            self._wake.wait()
            if not self._is_closing:
                time.sleep(_GATHER_S)  # so that many lines are written at once
            self._wake.clear()
            self._write_all()
            self._say_what_is_left_out()
        self._write_all()
        for file in self._files.values():
            file.close()

    def _write_all(self) -> None:
        begun = time.perf_counter()
        while self._queue:
            record, size = self._queue.popleft()
            with self._lock:
                self._waiting_bytes -= size
            if self._is_halted():
                self._count_left_out(1)
            else:
                self._add(record)
            # Whoever answers requests goes first; the more waits here, the longer is a turn.
            if time.perf_counter() - begun > _TURN_S + _TURN_MORE_S * len(self._queue) / _WAITING_MAX:
                time.sleep(0)
                begun = time.perf_counter()
            if begun > self._flush_at:
                self._flush()
        self._flush()

    def _flush(self) -> None:
        self._flush_at = time.perf_counter() + _FLUSH_S
        for file in self._files.values():
            self._guarded(file.flush)

    def _add(self, record: Exchange | Frame) -> None:
        try:
            lines = record.lines(self._origin)
        except Exception as error:  # values that a model or a script made: whatever they raise, the rest goes on
            log.warning("A record cannot be written: %s: %s", type(error).__name__, error)
            self._count_left_out(1)
            return
        for name, line in lines:
            self._guarded(lambda name=name, line=line: self._files[name].add(line, record.when_s))

    def _is_halted(self) -> bool:
        if time.monotonic() < self._retry_at:
            return True
        if self._room.is_full:
            self._halt(f"there are {self.settings.bytes_max} bytes that were not fetched yet", retry_s=1.0)
            return True
        return False

    def _guarded(self, write: Callable[[], bool | None]) -> None:
        try:
            is_written = write()
        except OSError as error:
            self._halt(f"the files cannot be written: {error}", retry_s=_RETRY_S)
            return
        if is_written and self._state != _COLLECTING:
            self._state = _COLLECTING
            log.info("Collecting goes on.")

    def _halt(self, why: str, *, retry_s: float) -> None:
        """One line, however often it is tried again in vain."""
        self._retry_at = time.monotonic() + retry_s
        if self._state == _COLLECTING:
            log.error("Nothing is collected for now: %s. Requests are answered all the same.", why)
        self._state = f"halted: {why}"

    def _count_left_out(self, count: int) -> None:
        with self._lock:
            self._left_out += count

    def _say_what_is_left_out(self) -> None:
        now, left_out = time.monotonic(), self._all_left_out
        if left_out > self._said and now >= self._say_at:
            log.warning("%d records were left out of the collected data so far.", left_out)
            self._said, self._say_at = left_out, now + _SAY_S

    @property
    def _all_left_out(self) -> int:
        return self._left_out + sum(file.lost for file in self._files.values())


def added(figures: Sequence[Mapping[str, Any]]) -> Mapping[str, object]:
    """Those of all workers as one. The state is what keeps any of them from collecting."""
    if all(each["state"] == OFF["state"] for each in figures):
        return OFF
    written: dict[str, int] = {}
    for each in figures:
        for name, lines in each["written"].items():
            written[name] = written.get(name, 0) + lines
    return {
        "state": next((each["state"] for each in figures if each["state"] != _COLLECTING), _COLLECTING),
        "written": written,
        "left_out": sum(each["left_out"] for each in figures),
        "waiting": sum(each["waiting"] for each in figures),
    }


def is_in(bits: int, share: float) -> bool:
    """Whether a request is among the share that is collected: what is in a small share is in each larger one."""
    return bits < share * (1 << _BITS)


def correlation_of(bits: int) -> str:
    """The id by which the lines of one request are joined."""
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
