"""Several processes under one parent: they share what it opened, are started again when they die, end with it."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Callable, Protocol

log = logging.getLogger("parent")

PR_SET_PDEATHSIG = 1
RESTART_FIRST_S = 0.1
RESTART_MAX_S = 5.0
QUIET_S = 10.0  #: a worker that lived this long is started again at once
FAILED_GRACE_S = 10.0  #: once one has made all end, the others have so long for it
_LOOK_S = 1.0
_STEP_S = 0.05


def end_with_parent(parent: int) -> None:
    """Ask Linux for SIGTERM when the parent dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)  # it died before we asked


class Care(Protocol):
    """What a parent is to know of its workers."""

    def start(self, worker: int) -> int:
        """Begin the worker of this number; its process id."""
        ...

    def ended(self, worker: int, code: int) -> int | None:
        """A worker ended, with a negative code by that signal.

        None: it is to be started again. Else all shall end, and this is the exit code.
        """
        ...

    def look(self, running: Mapping[int, int]) -> None:
        """Called about once a second. `running`: process ids by worker."""
        ...

    def stop(self) -> None:
        """All are about to be asked to end."""
        ...


class Forked:
    """Workers that are forks of the parent, which is single-threaded and has no event loop: that is safe."""

    def __init__(self, run: Callable[[int], None]) -> None:
        self._run = run

    def start(self, worker: int) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        signal.set_wakeup_fd(-1)
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(each, signal.SIG_DFL)
        end_with_parent(parent)
        code = 1
        try:
            self._run(worker)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)

    def ended(self, worker: int, code: int) -> int | None:
        return None

    def look(self, running: Mapping[int, int]) -> None:
        pass

    def stop(self) -> None:
        pass


@dataclass(frozen=True)
class _Running:
    worker: int
    since: float
    wait_s: float  # how long it was waited for


class Parent:
    """Starts workers and waits for them."""

    def __init__(self, care: Care, *, workers: int) -> None:
        self._care = care
        self._running: dict[int, _Running] = {}  #: by process id
        self._due: dict[int, tuple[float, float]] = dict.fromkeys(range(workers), (0.0, RESTART_FIRST_S))
        self._is_asked = False
        self._is_stopping = False
        self._kill_at = float("inf")
        self._code = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or what a worker's end has decided, and the end of all workers; the exit code."""
        woken = _woken_by_signals()
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._ask)
        signal.signal(signal.SIGCHLD, _wake)
        while self._running or not self._is_stopping:
            if self._is_asked and not self._is_stopping:
                self._stop()
            if not self._is_stopping:
                self._start_due()
                self._care.look({each.worker: pid for pid, each in self._running.items()})
            elif time.monotonic() > self._kill_at:
                self._send(signal.SIGKILL)
            select.select([woken], [], [], _STEP_S if self._due and not self._is_stopping else _LOOK_S)
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 1024)
            self._reap()
        return self._code

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._is_asked = True

    def _stop(self) -> None:
        self._is_stopping = True
        self._care.stop()
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker, (due, wait_s) in list(self._due.items()):
            if due <= now:
                self._running[self._care.start(worker)] = _Running(worker, time.monotonic(), wait_s)
                del self._due[worker]

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            # Another child than ours: an orphan that has become the child of process 1, where we are that.
            if (ended := self._running.pop(pid, None)) is None or self._is_asked or self._is_stopping:
                continue
            code = os.waitstatus_to_exitcode(status)
            if (verdict := self._care.ended(ended.worker, code)) is not None:
                self._code, self._kill_at = verdict, time.monotonic() + FAILED_GRACE_S
                self._stop()
                continue
            lived_s = time.monotonic() - ended.since
            wait_s = RESTART_FIRST_S if lived_s > QUIET_S else min(ended.wait_s * 2, RESTART_MAX_S)
            log.error("Worker %s ended (%s) after %.1f s; again in %.1f s.", ended.worker, words(code), lived_s, wait_s)
            self._due[ended.worker] = (time.monotonic() + wait_s, wait_s)


def words(code: int) -> str:
    """How a process ended."""
    if code >= 0:
        return f"code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _woken_by_signals() -> int:
    """What becomes readable when a signal comes: a plain sleep would go on after it."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _wake(number: int, frame: FrameType | None) -> None:
    """Without a handler of ours the signal would not wake us."""
