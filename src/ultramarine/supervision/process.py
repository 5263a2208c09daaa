"""Processes as the supervisor needs them: identified beyond their number, tied to our life, ended for sure."""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

LOG_BYTES_MAX = 10 * 1024 * 1024  #: then the log becomes NAME.log.1


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when there is none (a zombie is none)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(pid: int, ticks: int) -> bool:
    """Whether that very process lives; another that got its number later is not it."""
    return start_ticks(pid) == ticks


def spawn(argv: Sequence[str], *, log: Path, cwd: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, which gets SIGTERM when we die. It appends to `log`, sees `variables`."""
    parent = os.getpid()

    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the supervisor waits for its signals with them blocked
        if os.getppid() != parent:  # we died before the line above
            os._exit(1)

    with open(log, "ab") as stream:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
            start_new_session=True,
            preexec_fn=in_child,  # noqa: PLW1509  # there are no threads here
        )


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a child's whole group: it leads one, named by its own number."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end_stranger(pid: int, ticks: int, *, grace_s: float) -> None:
    """End a process that is not our child, and its group if it leads one: SIGTERM, the grace, SIGKILL."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not is_alive(pid, ticks):
            return
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        if _ends_within(descriptor, grace_s):
            return
        if os.getpgid(pid) == pid:
            signal_group(pid, signal.SIGKILL)
        else:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        _ends_within(descriptor, 5.0)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def _ends_within(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def rotate(log: Path) -> None:
    """Keep a log small. Its writer goes on with the same open file, so the content is copied and the file emptied."""
    try:
        if log.stat().st_size <= LOG_BYTES_MAX:
            return
        log.with_name(log.name + ".1").write_bytes(log.read_bytes())
        os.truncate(log, 0)
    except OSError:
        return  # a full disk must not end the supervisor


def last_lines(log: Path, count: int = 20) -> str:
    """The end of a log, for the person who waits at the terminal."""
    try:
        with open(log, "rb") as stream:
            stream.seek(max(0, log.stat().st_size - 16384))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-count:])
