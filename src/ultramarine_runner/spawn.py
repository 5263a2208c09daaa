"""Start one rank: fork, become a session of its own, exec."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Mapping, Sequence
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_RESET = (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Orphans below this process become its children, instead of init's."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def spawn(
    argv: Sequence[str], environment: Mapping[str, str], *, folder: str, log: str, groups: Sequence[str] = ()
) -> int:
    """Start `argv` in `folder`, its output appended to `log`; its pid. What cannot be executed ends with 127.

    `groups` are the files by which it gets into its control groups, before anything of it runs.

    Only for a process without threads: Python code runs between fork and exec.
    """
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    parent = os.getpid()
    # The keeper ignores TERM; blocked, one that comes before the child has taken that back waits instead of being lost.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _RESET)
    try:
        pid = os.fork()
        if pid == 0:
            _enter(groups)
            _become(argv, environment, folder, fd, parent)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(fd)
    return pid


def _enter(groups: Sequence[str]) -> None:
    try:
        for file in groups:
            fd = os.open(file, os.O_WRONLY)
            os.write(fd, b"0")
            os.close(fd)
    except OSError as error:
        os.write(2, f"runner: {error.filename}: a rank could not enter its group: {error.strerror}\n".encode())
        os._exit(127)


def _become(argv: Sequence[str], environment: Mapping[str, str], folder: str, log: int, parent: int) -> NoReturn:
    try:
        os.setsid()
        # Dies at once with the keeper, before anybody has to look for it.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)
        signal.set_wakeup_fd(-1)
        for number in _RESET:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.umask(0o022)  # ours is narrower; what a job writes is for its own people to read
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _prefer_for_oom()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(folder)
        os.execvpe(argv[0], list(argv), dict(environment))
    except OSError as error:
        os.write(2, f"ultramarine: {argv[0]} cannot be started: {error.strerror}.\n".encode())
    finally:
        os._exit(127)


def _prefer_for_oom() -> None:
    """Under memory pressure the kernel is to take the rank, not the runner or the control plane."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(fd, b"500")
    except OSError:
        pass
    finally:
        os.close(fd)
