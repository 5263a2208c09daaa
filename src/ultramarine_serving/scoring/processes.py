"""A replica of several worker processes: the parent's side, which imports no model and answers nothing.

Each is a program of its own, for threads of numeric libraries do not survive a fork. They accept at one socket.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ultramarine_serving.http.address import Address
from ultramarine_serving.http.listening import BACKLOG, bind
from ultramarine_serving.parent import Parent, words

from .board import Board, State
from .options import EXIT_NOT_LOADED, SEAT, Options
from .seat import FAILURE, written

log = logging.getLogger("scoring")

_GAP_S = 5.0  #: we stood still ourselves: what the others have not said meanwhile is not held against them
_THREADS = "OMP_NUM_THREADS"  #: of a call, in nearly all numeric libraries


def run(options: Options, arguments: Sequence[str]) -> int:
    """Serve until SIGTERM; the exit code. Raises OSError where the address cannot be listened at."""
    workers = _Workers(options, arguments)
    log.info("Listening on %s; loading in %d worker processes.", workers.address, options.workers)
    try:
        code = Parent(workers, workers=options.workers).run()
    finally:
        workers.stop()
    if workers.failure:  # the last line of the log is what people see first
        log.error("%s", workers.failure)
    return code


class _Workers:
    """What `Parent` is to know of them."""

    def __init__(self, options: Options, arguments: Sequence[str]) -> None:
        self._options = options
        self._arguments = list(arguments)
        asked = Address.parse(options.socket)
        self._socket = bind(asked)
        self._socket.listen(BACKLOG)
        self._inode = os.stat(asked.path).st_ino if asked.path else 0
        self.address = asked if asked.path else replace(asked, port=self._socket.getsockname()[1])
        self._board = Board.create(options.workers)
        for descriptor in (self._socket.fileno(), self._board.descriptor):
            os.set_inheritable(descriptor, True)
        threads = max(1, len(os.sched_getaffinity(0)) // options.workers)
        self._environment = {_THREADS: str(threads), **os.environ}
        self._looked_at = time.monotonic()
        self._patient_until = 0.0
        self.failure = ""

    def start(self, worker: int) -> int:
        self._board.clear(worker)
        seat = written(worker, self._board, self._socket.fileno())
        command = [sys.executable, *_program(), *self._arguments, SEAT, seat]
        return os.posix_spawn(sys.executable, command, self._environment)

    def ended(self, worker: int, code: int) -> int | None:
        """As a single process: where it fails before the replica has begun to answer, the replica fails.

        Later the others go on; but where nobody is left to answer, a model that does not load any more is its end.
        """
        left = [place for place in range(self._board.places) if place != worker]
        is_last = not any(self._board.state(place) is not State.LOADING for place in left)
        if self._board.is_open and not (code == EXIT_NOT_LOADED and is_last):
            return None
        self.failure = str(self._board.figures(worker).get(FAILURE, ""))
        if code < 0:
            self.failure = f"Worker {worker} was ended by {words(code)} before the replica was ready."
        return code if code >= 0 else 128 - code

    def look(self, running: Mapping[int, int]) -> None:
        """End those that say nothing any more, not even that they hang."""
        now = time.monotonic()
        if now - self._looked_at > _GAP_S:
            self._patient_until = now + _GAP_S
        self._looked_at = now
        if now < self._patient_until:
            return
        for worker, pid in running.items():
            if now > self._board.alive_until(worker):
                log.error("Worker %d has said nothing for too long: a call hangs. It is ended for it.", worker)
                self._board.clear(worker)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Who connects from now on is refused at once."""
        self._socket.close()
        with contextlib.suppress(OSError):
            if self._inode and os.stat(self.address.path).st_ino == self._inode:
                os.unlink(self.address.path)
        self._inode = 0


def _program() -> list[str]:
    """What the interpreter was told to run: a zip, or a module."""
    spec = sys.modules["__main__"].__spec__
    return ["-m", spec.parent] if spec is not None and spec.parent else [sys.argv[0]]
