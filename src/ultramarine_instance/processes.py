"""Programs beside JupyterLab: each in a session of its own, so that it is ended with all that it has started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_STEP_S = 0.02


def end_with_parent() -> None:
    """Ask Linux for SIGTERM when the process that started us dies, however it dies. It stays so over an `exec`."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def start(command: Sequence[str], folder: Path, out: IO[bytes] | int) -> subprocess.Popen[bytes]:
    """In a session of its own; what it prints goes to `out`."""
    return subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
    )


def end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask all of its session to end, then make it end."""
    if process.poll() is None:
        signal_all(process, signal.SIGTERM)
        until = time.monotonic() + grace_s
        while process.poll() is None and time.monotonic() < until:
            time.sleep(_STEP_S)
    signal_all(process, signal.SIGKILL)
    process.wait()


def signal_all(process: subprocess.Popen[bytes], number: int) -> None:
    """To its session: the group keeps its number as long as one of it lives."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
