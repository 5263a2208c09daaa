"""Looks at the runs once in a while: what they use, what they are over."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import limits, machine, samples
from .config import Config
from .state import Run

_BUSY_S = 0.5
_IDLE_S = 2.0
_EXACT_FROM = 0.7  #: of the memory limit; below it the quick figure is good enough


@dataclass(frozen=True)
class Found:
    """One look."""

    samples: Mapping[str, Mapping[str, float]]
    disk_free_bytes: int
    written: Mapping[str, int]  #: by run key, looked at when the disk is full
    disk_full: bool = False


class Watch:
    """One thread that samples, and tells the link once per turn."""

    def __init__(
        self,
        config: Config,
        *,
        keeper: int,
        runs: Callable[[], Sequence[Run]],
        tell: Callable[[Found], None],
    ) -> None:
        self._folder = config.folder
        self._keeper = keeper
        self._runs = runs
        self._memory_bytes = config.memory_bytes
        self._disk_reserve_bytes = config.disk_reserve_bytes
        self._tell = tell
        self._wake = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._serve, name="watch", daemon=True).start()

    def hurry(self) -> None:
        """Something has begun: look sooner."""
        self._wake.set()

    def _serve(self) -> None:
        while True:
            self._wake.wait(self._patience())
            self._wake.clear()
            running = [run for run in self._runs() if run.has_ranks]
            self._tell(self._look(running))

    def _patience(self) -> float:
        running = [run for run in self._runs() if run.has_ranks]
        deadline = limits.next_deadline(running)
        until = _BUSY_S if deadline is None else deadline - machine.boot_s()
        return max(0.005, min(until, _BUSY_S)) if running else _IDLE_S

    def _samples(self, running: Sequence[Run]) -> dict[str, dict[str, float]]:
        members = samples.members(self._keeper, {run.key: run.pids for run in running})
        return {
            run.key: {
                # What has ended takes its seconds along: never report fewer than before.
                "cpu_s": max(samples.cpu_s(members[run.key]), run.samples.get("cpu_s", 0.0)),
                "memory_bytes": self._memory(run, members[run.key]),
            }
            for run in running
        }

    def _memory(self, run: Run, pids: Sequence[int]) -> int:
        quick = samples.resident_bytes(pids)
        allowed = (run.spec.limits.memory_bytes if run.spec else None) or self._memory_bytes
        return samples.proportional_bytes(pids) if allowed and quick > _EXACT_FROM * allowed else quick

    def _look(self, running: Sequence[Run]) -> Found:
        free = machine.disk_free(self._folder)
        if free >= self._disk_reserve_bytes:
            return Found(self._samples(running), free, {})
        # Walking the folders takes time: only when somebody has to go.
        written = {run.key: _written(self._folder / "runs" / run.key) for run in running}
        return Found(self._samples(running), free, written, disk_full=True)


def _written(folder: Path) -> int:
    total = 0
    for around, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(around, name)).st_blocks * 512
            except OSError:
                continue
    return total
