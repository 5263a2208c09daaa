"""Processes of this machine, told apart by pid, start time and boot: a pid alone may be somebody else's by now."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    pid: int
    started: str  #: field 22 of /proc/PID/stat, in clock ticks since boot
    boot: str

    def is_alive(self) -> bool:
        """It runs: not ended, not a zombie, not another process with its number."""
        return self == process_id(self.pid) and _state(self.pid) not in ("Z", "X", "")

    def is_stopped(self) -> bool:
        """It is there, and was told to stand still (SIGSTOP)."""
        return self == process_id(self.pid) and _state(self.pid) in ("T", "t")


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process_id(pid: int) -> ProcessId | None:
    fields = _stat(pid)
    return ProcessId(pid=pid, started=fields[19], boot=boot_id()) if fields else None


def _stat(pid: int) -> list[str]:
    """The fields after the command's name, which may itself hold spaces and parentheses."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""
