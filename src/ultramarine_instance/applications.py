"""Custom applications: started beside JupyterLab, again when they end, and ended with it.

What each prints is in `applications/<name>.log` of the home. One that ends again and again is started again ever more
slowly. Which there are, and at which port, is for the control plane to know: it has said so itself.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

from ultramarine_instance import processes
from ultramarine_instance.settings import Application

FIRST_S = 0.5  #: between an end and the next start
REST_S_MAX = 30.0
QUIET_S = 60.0  #: one that lived so long begins anew with the shortest rest
GRACE_S = 3.0
LOG_BYTES_MAX = 10 * 1024**2
_LOOK_S = 0.2


class Applications:
    def __init__(self, home: Path, *, base: str) -> None:
        """`base`: the path of the instance, as the browser sees it."""
        self._home, self._base = home, base
        self._ending = threading.Event()

    @contextlib.contextmanager
    def started(self, applications: Sequence[Application]) -> Generator[None]:
        """They run while in it."""
        threads = [threading.Thread(target=self._keep, args=(one,), name=one.name) for one in applications]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ending.set()
            for thread in threads:
                thread.join()

    def _keep(self, one: Application) -> None:
        log = self._home / "applications" / f"{one.name}.log"
        log.parent.mkdir(exist_ok=True)
        rest_s = FIRST_S
        while not self._ending.is_set():
            lived_s = self._one_life(one, log)
            rest_s = FIRST_S if lived_s >= QUIET_S else min(REST_S_MAX, rest_s * 2)
            self._ending.wait(rest_s)

    def _one_life(self, one: Application, log: Path) -> float:
        """How many seconds it lived."""
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            os.replace(log, log.with_suffix(".log.1"))
        # `env` gives it what it needs to know of where it is seen.
        where = [f"PORT={one.port}", f"BASE_PATH={self._base}proxy/{one.name}/"]
        lived_s = 0.0
        with log.open("ab") as out:
            process = processes.start(["env", *where, "bash", "-c", one.command], self._home, out)
            while process.poll() is None and not self._ending.wait(_LOOK_S):
                lived_s += _LOOK_S
            processes.end(process, GRACE_S)
            if not self._ending.is_set():
                out.write(f"[{one.name} ended with exit code {process.returncode}; it is started again]\n".encode())
        return lived_s
