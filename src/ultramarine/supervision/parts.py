"""What `um status` reads: the state of each part, in `run/parts.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ultramarine.supervision import lock, process
from ultramarine.supervision.home import write_json
from ultramarine.supervision.policy import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the installation, as last written by its supervisor."""

    name: str
    phase: Phase
    pid: int | None = None
    start_ticks: int | None = None
    restarts: int = 0
    failed_starts: int = 0
    is_essential: bool = True
    why: str = ""  #: how it last ended, in words
    log: str = ""


def write(home: Path, parts: Sequence[Part], supervisor: lock.Holder) -> None:
    rows = [asdict(part) for part in parts]
    write_json(home / "run" / "parts.json", {"supervisor": _identity(supervisor), "parts": rows})


def last_written(home: Path) -> list[Part]:
    """The parts as they were last written, whether or not their supervisor still lives."""
    return _read(home)[1]


def current(home: Path) -> list[Part]:
    """The parts as they are: what no living supervisor wrote has stopped; its failures were those of that one."""
    writer, found = _read(home)
    supervisor = lock.holder(home)
    if supervisor is not None and _identity(supervisor) == writer:
        return found
    stopped = {"phase": Phase.STOPPED, "pid": None, "start_ticks": None, "failed_starts": 0}
    return [replace(part, **stopped) for part in found]


def end_leftovers(home: Path, *, grace_s: float) -> None:
    """End what a killed supervisor's parts left: they were told to end when it died, and may take their time."""
    for part in last_written(home):
        if part.pid is not None and part.start_ticks is not None:
            process.end_stranger(part.pid, part.start_ticks, grace_s=grace_s)


def _identity(supervisor: lock.Holder) -> list[int]:
    return [supervisor.pid, supervisor.start_ticks]


def _read(home: Path) -> tuple[list[int], list[Part]]:
    try:
        content = json.loads((home / "run" / "parts.json").read_text(encoding="utf-8"))
        return content["supervisor"], [replace(Part(**row), phase=Phase(row["phase"])) for row in content["parts"]]
    except (OSError, ValueError, TypeError, KeyError):
        return [], []
