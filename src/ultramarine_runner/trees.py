"""Find and end processes: by parentage, and by what they carry in their environment."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Callable

ALLOCATION = "ULTRAMARINE_ALLOCATION"
RUN_KEY = "ULTRAMARINE_RUN_KEY"

_Find = Callable[[], list[int]]


def children(pid: int) -> list[int]:
    """The children of a process, zombies among them; none when it is gone."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except OSError:
        return found
    return found


def descendants(pid: int) -> list[int]:
    """Everything below a process, parents before children, without itself."""
    found: list[int] = []
    front = children(pid)
    while front:
        found += front
        front = [child for parent in front for child in children(parent)]
    return found


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from `state` on (0 state, 1 parent, 3 session, 11 utime, 12 stime, 19 start)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Whether it runs: neither gone nor a zombie that only waits to be reaped."""
    fields = stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def variable(pid: int, name: str) -> str | None:
    """The value that a process was started with; None without one, or where we may not look."""
    try:
        block = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    prefix = f"{name}=".encode()
    for entry in block.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return None


def carriers(name: str, value: str) -> list[int]:
    """Every living process of this machine that carries `name=value`, but not this one."""
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [pid for pid in pids if pid != os.getpid() and variable(pid, name) == value and is_alive(pid)]


def send(pids: list[int], number: int) -> None:
    """Signal each; those that are gone already are no matter."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def sweep(allocation: str, *, patience_s: float = 5.0) -> list[int]:
    """End every process that carries this allocation in its environment; the pids that were signalled.

    Stopped first, so that none can fork away while the others are found; then killed. Raises TimeoutError with the
    pids that are left when `patience_s` is over (a process in an uninterruptible wait).
    """
    return _end(lambda: carriers(ALLOCATION, allocation), patience_s)


def end_run(key: str, *, patience_s: float = 5.0) -> list[int]:
    """End what carries this run key, and everything below it."""

    def members() -> list[int]:
        roots = carriers(RUN_KEY, key)
        return [*roots, *(pid for root in roots for pid in descendants(root) if is_alive(pid))]

    return _end(members, patience_s)


def _end(find: _Find, patience_s: float) -> list[int]:
    deadline = time.monotonic() + patience_s
    ended: set[int] = set()
    while True:
        found = find()
        if not found:
            return sorted(ended)
        if time.monotonic() > deadline:
            raise TimeoutError(f"Processes {found} do not end although they were killed.")
        fresh = [pid for pid in found if pid not in ended]
        ended.update(fresh)
        send(fresh, signal.SIGSTOP)
        if not fresh:
            send(found, signal.SIGKILL)
            time.sleep(0.005)
