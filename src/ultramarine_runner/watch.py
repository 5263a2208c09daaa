"""Looks at the runs once in a while: what they use, what they are over."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from . import limits, machine, samples
from .cgroups import Groups
from .config import Config
from .state import Run
from .usage import Meter

_BUSY_S = 0.5
_IDLE_S = 2.0
_EXACT_FROM = 0.7  #: of the memory limit; below it the quick figure is good enough
_WALK_EACH_S = 2.0  #: a run's folder is walked so often, but never for more than a twentieth of the time
_WALK_SHARE = 20


@dataclass(frozen=True)
class Found:
    """One look."""

    samples: Mapping[str, Mapping[str, float]]
    ranks: Mapping[str, Mapping[str, Mapping[str, float]]]  #: by run key and rank
    disk: limits.Disk


@dataclass(frozen=True)
class _Walked:
    """How much a run had written when its folder was walked, and when that may be done again."""

    written: int
    again_at: float


class Watch:
    """One thread that samples, and tells the link once per turn."""

    def __init__(
        self,
        config: Config,
        *,
        keeper: int,
        groups: Groups,
        runs: Callable[[], Sequence[Run]],
        tell: Callable[[Found], None],
    ) -> None:
        self._folder = config.folder
        self._keeper = keeper
        self._groups = groups
        self._runs = runs
        self._memory_bytes = config.memory_bytes
        self._disk_reserve_bytes = config.disk_reserve_bytes
        self._tell = tell
        self._wake = threading.Event()
        self._walked: dict[str, _Walked] = {}
        self._full_since: float | None = None
        self._meter = Meter()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._serve, name="watch", daemon=True).start()

    def hurry(self) -> None:
        """Something has begun: think again when to look."""
        self._wake.set()

    def _serve(self) -> None:
        """A run that is over before the next look is not looked at: that would cost more than the run."""
        looked = machine.boot_s()
        while True:
            running = [run for run in self._runs() if run.has_ranks]
            if self._wake.wait(_patience(running, looked, machine.boot_s())):
                self._wake.clear()
                continue
            running = [run for run in self._runs() if run.has_ranks]
            self._tell(self._look(running))
            looked = machine.boot_s()

    def _samples(self, running: Sequence[Run]) -> dict[str, dict[str, float]]:
        members = samples.members(self._keeper, {run.key: run.pids for run in running})
        return {run.key: self._sample(run, members[run.key]) for run in running}

    def _sample(self, run: Run, pids: Sequence[int]) -> dict[str, float]:
        """What the kernel has counted for its group; without one, what its processes say of themselves."""
        used = self._groups.used(run.key)
        memory = used.memory_bytes if used else self._memory(run, pids)
        peak = used.memory_peak_bytes if used else max(memory, run.samples.get("memory_peak_bytes", 0))
        cpu_s = used.cpu_s if used and used.cpu_s else samples.cpu_s(pids)
        return {
            # What has ended takes its seconds along: never report fewer than before.
            "cpu_s": max(cpu_s, run.samples.get("cpu_s", 0.0)),
            "memory_bytes": memory,
            "memory_peak_bytes": peak,
            "processes": used.processes if used else samples.threads(pids),
            "processes_refused": used.processes_refused if used else 0,
            "oom_kills": used.oom_kills if used else 0,
        }

    def _memory(self, run: Run, pids: Sequence[int]) -> int:
        quick = samples.resident_bytes(pids)
        allowed = (run.spec.limits.memory_bytes if run.spec else None) or self._memory_bytes
        return samples.proportional_bytes(pids) if allowed and quick > _EXACT_FROM * allowed else quick

    def _look(self, running: Sequence[Run]) -> Found:
        free, now = machine.disk_free(self._folder), time.monotonic()
        is_full = free < self._disk_reserve_bytes
        self._full_since = (self._full_since or now) if is_full else None
        # Walking the folders takes time: only of those with a limit, or when somebody has to go.
        walked = [run for run in running if is_full or (run.spec and run.spec.limits.disk_bytes)]
        self._walked = {run.key: self._walk(run.key, at_once=is_full) for run in walked}
        written = {key: one.written for key, one in self._walked.items()}
        beside = self._beside(running) if is_full else 0
        disk = limits.Disk(free, is_full, written, beside, now - (self._full_since or now))
        return Found(self._samples(running), self._ranks(running), disk)

    def _beside(self, running: Sequence[Run]) -> int:
        """The most that any other run has written that lies here: nodes of one machine have their folders together."""
        ours = {run.key for run in running}
        nodes = [config.parent for config in self._folder.parent.glob("*/config.json")]
        others = [folder for node in nodes for folder in (node / "runs").glob("*") if folder.name not in ours]
        return max(map(samples.written_bytes, others), default=0)

    def _ranks(self, running: Sequence[Run]) -> dict[str, Mapping[str, Mapping[str, float]]]:
        now = machine.boot_s()
        self._meter.keep([pid for run in running for pid in run.pids])
        return {run.key: self._meter.ranks(run.spec.ranks if run.spec else (), run.pids, now) for run in running}

    def _walk(self, key: str, *, at_once: bool) -> _Walked:
        known, began = self._walked.get(key), time.monotonic()
        if known is not None and not at_once and began < known.again_at:
            return known
        written = samples.written_bytes(self._folder / "runs" / key)
        now = time.monotonic()
        return _Walked(written, now + max(_WALK_EACH_S, _WALK_SHARE * (now - began)))


def _patience(running: Sequence[Run], looked: float, now: float) -> float:
    """Seconds until the next look; `looked`: when the last one was. A time limit is not waited past."""
    due = looked + (_BUSY_S if running else _IDLE_S)
    deadline = limits.next_deadline(running)
    return max(0.005, (due if deadline is None else min(due, deadline)) - now)
