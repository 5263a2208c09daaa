"""Processes of this machine, told apart by pid, start time and boot: a pid alone may be somebody else's by now."""

import functools
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    pid: int
    started: str  #: field 22 of /proc/PID/stat, in clock ticks since boot
    boot: str

    def state(self) -> str:
        """As /proc has it (`R`, `S`, `T`, `Z`, …); empty when it is gone, or when another process has its number."""
        fields = _stat(self.pid)
        return fields[0] if fields and fields[19] == self.started and boot_id() == self.boot else ""


def is_alive(state: str) -> bool:
    """It runs: not ended, and no zombie."""
    return state not in ("Z", "X", "")


def is_stopped(state: str) -> bool:
    """It is there, and was told to stand still (SIGSTOP)."""
    return state in ("T", "t")


@functools.cache
def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process_id(pid: int) -> ProcessId | None:
    fields = _stat(pid)
    return ProcessId(pid=pid, started=fields[19], boot=boot_id()) if fields else None


def _stat(pid: int) -> list[str]:
    """The fields after the command's name, which may itself hold spaces and parentheses."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
