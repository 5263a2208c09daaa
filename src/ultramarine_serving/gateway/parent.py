"""Several workers under one parent: they share the ports, are started again when they die, and end with it."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from ultramarine_serving.http.address import Address

log = logging.getLogger("ultramarine.gateway")

PR_SET_PDEATHSIG = 1
RESTART_FIRST_S = 0.1
RESTART_MAX_S = 5.0
QUIET_S = 10.0  #: a worker that lived this long is started again at once


def end_with_parent(parent: int) -> None:
    """Ask Linux for SIGTERM when the parent dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)  # it died before we asked


def reserve(addresses: Sequence[Address]) -> list[socket.socket]:
    """Bind each port without listening: nobody else takes it, and port 0 gets its number for all workers alike.

    Raises OSError when a port is taken, by another gateway too (a plain bind fails beside shared ones).
    """
    held: list[socket.socket] = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
            port = probe.getsockname()[1]
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address.host, port))
        held.append(made)
    return held


class Parent:
    """Forks workers and waits for them. Single-threaded, no event loop: it is safe to fork from."""

    def __init__(self, run_worker: Callable[[int], None], *, workers: int) -> None:
        self._run_worker = run_worker
        self._workers = workers
        self._running: dict[int, tuple[int, float]] = {}  #: pid: worker, started at
        self._due: dict[int, tuple[float, float]] = dict.fromkeys(range(workers), (0.0, RESTART_FIRST_S))
        self._is_stopping = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT and the end of all workers."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._stop)
        signal.signal(signal.SIGCHLD, _wake)
        while self._running or not self._is_stopping:
            if not self._is_stopping:
                self._start_due()
            with contextlib.suppress(InterruptedError):
                time.sleep(0.05 if self._due else 1.0)
            self._reap()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True
        for pid in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker, (due, _) in list(self._due.items()):
            if due <= now:
                self._start(worker)

    def _start(self, worker: int) -> None:
        _, wait_s = self._due[worker]
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            for each in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(each, signal.SIG_DFL)
            end_with_parent(parent)
            code = 1
            try:
                self._run_worker(worker)
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        self._running[pid] = (worker, time.monotonic())
        self._wait_s = wait_s
        del self._due[worker]
        if self._is_stopping:
            os.kill(pid, signal.SIGTERM)

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            worker, started = self._running.pop(pid)
            if self._is_stopping:
                continue
            lived_s = time.monotonic() - started
            wait_s = RESTART_FIRST_S if lived_s > QUIET_S else min(self._wait_s * 2, RESTART_MAX_S)
            log.error("Worker %s ended (%s) after %.1f s; again in %.1f s.", worker, status, lived_s, wait_s)
            self._due[worker] = (time.monotonic() + wait_s, wait_s)


def _wake(number: int, frame: FrameType | None) -> None:
    """Only so that `sleep` ends early."""
