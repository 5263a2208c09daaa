"""Set-up scripts: the creation script once in the life of an instance, the startup script at each start.

What they print is in `setup/<name>.log` of the home, and in the run's log. A creation script that fails ends the
instance with words; a startup script that fails is told of, and JupyterLab starts all the same: its owner is to get in
and put it right.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from ultramarine_instance import processes
from ultramarine_instance.settings import Script, Settings

SETUP_FAILED = 78  #: the exit code by which the control plane knows
LINES = 20  #: of its log, when it failed
GRACE_S = 5.0
_LINE_BYTES_MAX = 2000
_STEP_S = 0.05
_DRAIN_S = 1.0  #: for what a script that has ended left in the pipe
CREATED = Path(".ultramarine", "created")  #: in the home: the creation script has succeeded


class ScriptFailed(Exception):
    """With the exit code or the deadline, and the end of its log."""


class Scripts:
    def __init__(self, home: Path, *, files: Path) -> None:
        """`files`: the folder of the files that came along."""
        self._home, self._files = home, files

    def run(self, settings: Settings) -> None:
        """What is to be run at this start. Raises ScriptFailed for the creation script."""
        created = self._home / CREATED
        if settings.creation is not None and not created.exists():
            self._run(settings.creation)
            created.parent.mkdir(mode=0o700, exist_ok=True)
            created.touch()
        if settings.startup is not None:
            try:
                self._run(settings.startup)
            except ScriptFailed as error:
                print(f"{error}\nJupyterLab is started all the same.", file=sys.stderr)

    def _run(self, script: Script) -> None:
        log = self._home / "setup" / f"{script.name}.log"
        log.parent.mkdir(exist_ok=True)
        print(f"The {script.name} script begins; its log is {log}.")
        with log.open("wb") as out:
            code = _followed(self._argv(script), self._home, out, script.timeout_s)
        if code == 0:
            print(f"The {script.name} script is done.")
            return
        minutes = f"{script.timeout_s / 60:g} minutes"
        why = f"ended with exit code {code}" if code is not None else f"was ended: it took longer than {minutes}"
        raise ScriptFailed(f"The {script.name} script {why}. The end of its log:\n{_end_of(log)}")

    def _argv(self, script: Script) -> list[str]:
        if not script.file:
            return ["bash", "-c", script.command]
        return ["bash", str(self._files / script.file), *shlex.split(script.command)]


def _followed(argv: list[str], folder: Path, out: IO[bytes], timeout_s: float) -> int | None:
    """Its exit code; None when its time was over. When we are to stop, it is ended first."""
    # From before it begins: a signal that ends us at once would leave it behind.
    stopped = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: stopped.set())
    try:
        code = _ended(argv, folder, out, deadline=time.monotonic() + timeout_s, stopped=stopped)
    finally:
        signal.signal(signal.SIGTERM, before)
    if stopped.is_set():
        raise SystemExit(0)
    return code


def _ended(argv: list[str], folder: Path, out: IO[bytes], *, deadline: float, stopped: threading.Event) -> int | None:
    try:
        process = processes.start(argv, folder, subprocess.PIPE)
    except OSError as error:
        out.write(f"{argv[0]} cannot be started: {error.strerror}\n".encode())
        return 127
    reader = threading.Thread(target=_copy, args=(process.stdout, out), daemon=True)
    reader.start()
    code = _awaited(process, deadline, stopped)
    if code is None:
        processes.end(process, GRACE_S)
    # What it started in the background may hold the pipe for ever.
    reader.join(_DRAIN_S)
    return code


def _awaited(process: subprocess.Popen[bytes], deadline: float, stopped: threading.Event) -> int | None:
    """Its exit code; None when it still runs, and its time is over or we are to stop."""
    while (code := process.poll()) is None and not stopped.is_set() and time.monotonic() < deadline:
        time.sleep(_STEP_S)
    return code


def _copy(source: IO[bytes], log: IO[bytes]) -> None:
    """Line by line to the log and to our own stdout."""
    while line := source.readline(_LINE_BYTES_MAX):
        if not log.closed:
            log.write(line)
            log.flush()
        sys.stdout.write(line.decode("utf-8", "replace"))


def _end_of(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()[-LINES:]
    return "\n".join(lines) or "(it printed nothing)"
