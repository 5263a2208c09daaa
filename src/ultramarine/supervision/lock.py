"""One supervisor per home: an flock that ends with its process, and a record of who holds it."""

import contextlib
import fcntl
import json
import os
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path

from ultramarine.supervision import process
from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.home import write_json
from ultramarine.supervision.listening import Listening


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a home. The number alone is not enough: it may belong to another process by now."""

    pid: int
    start_ticks: int
    boot_id: str
    port: int
    second_port: int
    instances_port: int = 0  #: 0: it is of before there were instances
    listen: str = ""  #: where others reach it, as `--listen` takes it

    def is_alive(self) -> bool:
        return self.boot_id == process.boot_id() and process.is_alive(self.pid, self.start_ticks)


def holder(home: Path) -> Holder | None:
    """The living supervisor of this home, if there is one."""
    try:
        found = Holder(**json.loads((home / "run" / "supervisor.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.is_alive() else None


@contextlib.contextmanager
def held(home: Path, listening: Listening) -> Generator[Holder]:
    """Hold the home, and say who does. Raises `CannotStart` when another supervisor does."""
    pid = os.getpid()
    ours = Holder(
        pid=pid,
        start_ticks=process.start_ticks(pid) or 0,
        boot_id=process.boot_id(),
        port=listening.port,
        second_port=listening.second_port,
        instances_port=listening.instances_port,
        listen=str(listening),
    )
    record = home / "run" / "supervisor.json"
    with locked(home):
        write_json(record, asdict(ours))
        try:
            yield ours
        finally:
            record.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(home: Path) -> Generator[None]:
    """Keep every supervisor out of the home. Raises `CannotStart` when one is in it."""
    descriptor = os.open(home / "run" / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise in_use(home) from error
    try:
        yield
    finally:
        os.close(descriptor)


def in_use(home: Path) -> CannotStart:
    """The error for a home that has a supervisor."""
    found = holder(home)
    who = f"process {found.pid}, port {found.port}" if found else "another process"
    return CannotStart(
        f"Ultramarine already runs in {home} ({who}).",
        hint="um status shows it, um down ends it; um up --home OTHER --port PORT starts a second installation.",
    )
