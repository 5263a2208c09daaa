"""What the processes and the folder of a run use: /proc and the files, nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import trees

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")


def members(keeper: int, ranks: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """The processes of each run, by run key: its ranks, the orphans that the keeper adopted, and all below them."""
    known = {pid for pids in ranks.values() for pid in pids}
    roots = {key: list(pids) for key, pids in ranks.items()}
    for orphan in trees.children(keeper):
        key = trees.variable(orphan, trees.RUN_KEY) if orphan not in known else None
        if key in roots:
            roots[key].append(orphan)
    return {key: [*pids, *(below for pid in pids for below in trees.descendants(pid))] for key, pids in roots.items()}


def cpu_s(pids: Sequence[int]) -> float:
    """Seconds of CPU used by the living ones, and by those children that they have waited for."""
    fields = [trees.stat(pid) for pid in pids]
    return sum(int(tick) for one in fields if len(one) > 14 for tick in one[11:15]) / _TICKS


def resident_bytes(pids: Sequence[int]) -> int:
    """Resident memory: quick, but what processes share counts once for each."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError, ValueError):
            continue
    return total


def proportional_bytes(pids: Sequence[int]) -> int:
    """Memory with shared pages divided among those who share them: exact, and ten times slower."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        except (OSError, IndexError, ValueError):
            continue
    return total


def disk_bytes(pids: Sequence[int]) -> tuple[int, int]:
    """Bytes read from and written to disks, by the living ones and those children that they have waited for."""
    found = {"read_bytes": 0, "write_bytes": 0}
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        except OSError:
            continue
        for name, _, value in (line.partition(": ") for line in lines):
            if name in found:
                found[name] += int(value)
    return found["read_bytes"], found["write_bytes"]


def threads(pids: Sequence[int]) -> int:
    """Processes with their threads: each is a task of the kernel."""
    return sum(int(one[17]) for one in map(trees.stat, pids) if len(one) > 17)


def written_bytes(folder: Path) -> int:
    """What the files below a folder take of the disk."""
    total = 0
    for around, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(around, name)).st_blocks * 512
            except OSError:
                continue
    return total
