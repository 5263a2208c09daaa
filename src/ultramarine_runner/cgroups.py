"""One control group for each run: the kernel counts and limits its whole tree, whatever it forks and hides.

A group is named `ultramarine:<allocation>:<rank of the node>:<run key>`, so that whoever ends the allocation finds it,
though no half of the runner is left to say where it was made.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import delegation, mechanism, trees
from .delegation import read, write
from .mechanism import CGROUP_V1, CGROUP_V2, WATCHING, Mechanism

PREFIX = "ultramarine"
MOUNT = "/sys/fs/cgroup"
_DEPTH_MAX = 12


@dataclass(frozen=True)
class Share:
    """What a run may use; None: no limit. The CPUs are a weight: who asked for more gets more when all are busy."""

    memory_bytes: int | None = None
    processes: int | None = None  #: threads count too, as each is a task of the kernel
    cpus: float | None = None


@dataclass(frozen=True)
class Used:
    """What the kernel has counted for a run."""

    cpu_s: float
    memory_bytes: int  #: without what it would drop at once: the cache of files not used lately
    memory_peak_bytes: int
    processes: int
    processes_refused: int  #: how often a fork was refused
    oom_kills: int


def find(allocation: str, rank: int, *, only_watch: bool = False) -> Groups:
    """The groups of this node of an allocation, by the best mechanism that works here: it is tried."""
    for candidate in () if only_watch else mechanism.candidates(read("/proc/self/mounts"), read("/proc/self/cgroup")):
        groups = Groups(candidate, allocation, rank)
        if _works(groups):
            return groups
    return Groups(WATCHING, allocation, rank)


def _works(groups: Groups) -> bool:
    if groups.mechanism.kind == CGROUP_V2 and not delegation.prepare(groups.mechanism.folders[0]):
        return False
    probe = f"probe-{os.getpid()}"
    works = bool(groups.make(probe, Share(memory_bytes=1 << 30, processes=100, cpus=1)))
    groups.remove(probe)
    return works


class Groups:
    """Groups by run key. It holds no state of its own: both halves of the runner have one."""

    def __init__(self, mechanism: Mechanism, allocation: str, rank: int) -> None:
        self.mechanism = mechanism
        self._prefix = f"{PREFIX}:{allocation}:{rank}"

    def make(self, key: str, share: Share) -> list[str]:
        """Make the group of a run; the files into which each of its processes writes "0" to be in it.

        Nothing when it has no group: then it is only watched.
        """
        folders = self._folders(key)
        try:
            for folder in folders:
                os.mkdir(folder, 0o755)
        except OSError:
            self.remove(key)
            return []
        if folders and not all(write(file, value) for file, value in self._settings(key, share)):
            self.remove(key)
            return []
        if self.mechanism.kind == CGROUP_V1 and share.memory_bytes:
            write(f"{self._of(key, 'memory')}/memory.memsw.limit_in_bytes", str(share.memory_bytes))
        elif self.mechanism.kind == CGROUP_V2 and share.memory_bytes:
            write(f"{self._of(key, 'memory')}/memory.swap.max", "0")
        return [f"{folder}/cgroup.procs" for folder in folders]

    def _settings(self, key: str, share: Share) -> Iterator[tuple[str, str]]:
        """What must be written, file by file. Swap, which not every kernel counts, is not among it."""
        is_new = self.mechanism.kind == CGROUP_V2
        if share.memory_bytes:
            name = "memory.max" if is_new else "memory.limit_in_bytes"
            yield f"{self._of(key, 'memory')}/{name}", str(share.memory_bytes)
        if share.processes:
            yield f"{self._of(key, 'pids')}/pids.max", str(share.processes)
        if share.cpus and is_new and os.path.exists(f"{self._of(key, 'cpu')}/cpu.weight"):
            yield f"{self._of(key, 'cpu')}/cpu.weight", str(mechanism.cpu_weight(share.cpus))
        if share.cpus and not is_new and "cpu" in self.mechanism.parents:
            yield f"{self._of(key, 'cpu')}/cpu.shares", str(mechanism.cpu_shares(share.cpus))

    def pids(self, key: str) -> list[int]:
        """The living processes in the group of a run."""
        return sorted({pid for folder in self._folders(key) for pid in _pids(folder)})

    def close(self, key: str) -> None:
        """Let nothing more be forked in it."""
        if self.mechanism.parents:
            write(f"{self._of(key, 'pids')}/pids.max", "0")

    def end(self, key: str, *, patience_s: float = 5.0) -> None:
        """Kill what is in the group of a run, and take it away. Raises TimeoutError when something does not end."""
        _end(self._folders(key), patience_s)

    def remove(self, key: str) -> None:
        """Take away the group of a run that has ended."""
        for folder in self._folders(key):
            _remove(folder)

    def used(self, key: str) -> Used | None:
        """What the run has used; None when it has no group."""
        if not self.mechanism.parents or not os.path.isdir(self._of(key, "memory")):
            return None
        memory, pids = self._of(key, "memory"), self._of(key, "pids")
        is_new = self.mechanism.kind == CGROUP_V2
        stat = _fields(f"{memory}/memory.stat")
        now = _number(f"{memory}/{'memory.current' if is_new else 'memory.usage_in_bytes'}")
        peak = _number(f"{memory}/{'memory.peak' if is_new else 'memory.max_usage_in_bytes'}")
        idle = stat.get("inactive_file" if is_new else "total_inactive_file", 0)
        oom = _fields(f"{memory}/{'memory.events' if is_new else 'memory.oom_control'}").get("oom_kill", 0)
        return Used(
            cpu_s=self._cpu_s(key),
            memory_bytes=max(0, now - idle),
            memory_peak_bytes=max(peak, now - idle),
            processes=_number(f"{pids}/pids.current"),
            processes_refused=_fields(f"{pids}/pids.events").get("max", 0),
            oom_kills=oom,
        )

    def _cpu_s(self, key: str) -> float:
        if self.mechanism.kind == CGROUP_V2:
            return _fields(f"{self._of(key, 'cpu')}/cpu.stat").get("usage_usec", 0) / 1e6
        if "cpuacct" not in self.mechanism.parents:
            return 0.0
        return _number(f"{self._of(key, 'cpuacct')}/cpuacct.usage") / 1e9

    def _of(self, key: str, controller: str) -> str:
        return f"{self.mechanism.parents[controller]}/{self._prefix}:{key}"

    def _folders(self, key: str) -> list[str]:
        return [f"{folder}/{self._prefix}:{key}" for folder in self.mechanism.folders]


def sweep(allocation: str, *, patience_s: float = 5.0, mount: str = MOUNT) -> list[str]:
    """End what is in the groups of an allocation, and take them away; the folders that there were.

    Raises TimeoutError with those that are left when `patience_s` is over (a process in an uninterruptible wait).
    """
    found = sorted(_named(mount, f"{PREFIX}:{allocation}:"))
    _end(found, patience_s)
    return found


def _end(folders: list[str], patience_s: float) -> None:
    deadline, left = time.monotonic() + patience_s, folders
    while left:
        for folder in left:
            write(f"{folder}/pids.max", "0")
            trees.send(_pids(folder), signal.SIGKILL)
        left = [folder for folder in left if not _remove(folder)]
        if left and time.monotonic() > deadline:
            raise TimeoutError(f"Control groups {left} still hold processes although these were killed.")
        if left:
            time.sleep(0.005)


def _named(mount: str, prefix: str) -> Iterator[str]:
    """The groups whose name begins so, in all hierarchies."""
    for around, folders, _ in os.walk(mount):
        ours = [folder for folder in folders if folder.startswith(PREFIX + ":")]
        yield from (f"{around}/{folder}" for folder in ours if folder.startswith(prefix))
        deep = around.count("/") - mount.count("/") >= _DEPTH_MAX
        folders[:] = [] if deep else [folder for folder in folders if folder not in ours]


def _pids(folder: str) -> list[int]:
    return [int(pid) for pid in read(f"{folder}/cgroup.procs").split()]


def _remove(folder: str) -> bool:
    """Whether it is gone. Processes that were just reaped may hold it for a moment."""
    for _ in range(5):
        try:
            os.rmdir(folder)
            return True
        except FileNotFoundError:
            return True
        except OSError:
            time.sleep(0.001)
    return False


def _fields(file: str) -> Mapping[str, int]:
    return {found[1]: int(found[2]) for found in re.finditer(r"^(\w+) (\d+)$", read(file), re.MULTILINE)}


def _number(file: str) -> int:
    text = read(file).strip()
    return int(text) if text.isdigit() else 0
