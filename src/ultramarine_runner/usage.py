"""What each rank uses, from what its processes have counted: rates need two looks. Pure, but for `read`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import samples, trees


@dataclass(frozen=True)
class Reading:
    """What the processes of a rank have counted so far."""

    at_s: float
    cpu_s: float
    memory_bytes: int
    disk_read_bytes: int
    disk_written_bytes: int


def read(rank_pid: int, now_s: float) -> Reading:
    """One look at a rank: its process and all below it."""
    pids = [rank_pid, *trees.descendants(rank_pid)]
    disk_read, disk_written = samples.disk_bytes(pids)
    return Reading(now_s, samples.cpu_s(pids), samples.resident_bytes(pids), disk_read, disk_written)


def between(before: Reading | None, now: Reading) -> dict[str, float]:
    """The use of a rank; `cpu_percent` is of one CPU, since the last look. What has ended takes its counts along."""
    passed = now.at_s - before.at_s if before is not None else 0.0
    used = now.cpu_s - before.cpu_s if before is not None else 0.0
    return {
        "cpu_percent": round(max(0.0, 100 * used / passed), 1) if passed > 0 else 0.0,
        "memory_bytes": now.memory_bytes,
        "disk_read_bytes": now.disk_read_bytes,
        "disk_written_bytes": now.disk_written_bytes,
    }


class Meter:
    """Remembers the last look at each rank."""

    def __init__(self) -> None:
        self._before: dict[int, Reading] = {}

    def ranks(self, ranks: Sequence[int], pids: Sequence[int], now_s: float) -> Mapping[str, Mapping[str, float]]:
        """The use of a run's ranks on this node, by rank. `pids` are theirs, in the same order."""
        found: dict[str, Mapping[str, float]] = {}
        for rank, pid in zip(ranks, pids):
            reading = read(pid, now_s)
            found[str(rank)] = between(self._before.get(pid), reading)
            self._before[pid] = reading
        return found

    def keep(self, pids: Sequence[int]) -> None:
        """Forget all but these."""
        self._before = {pid: reading for pid, reading in self._before.items() if pid in pids}
