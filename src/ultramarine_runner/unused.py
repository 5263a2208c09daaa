"""Environments that nobody has used for long are deleted, and those used least recently when all take too much disk.

Beside `<digest>/` lies `<digest>.used`. Who uses the environment holds a shared lock on it, which the kernel gives back
when its holder dies; its time of change is the last use. One is deleted by who holds that file alone, and the builders'
`<digest>.lock` too: it is renamed, and so gone for all, and then deleted at leisure.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import bytecode
from .builds import clear_leftovers, delete, lock_of

DAYS_MAX = 30.0  #: that an environment is kept after its last use
BYTES_MAX = 50 << 30  #: that those of a machine may take together
RECENT_S = 3600.0  #: so long after its use one is kept though room is short: the next run is likely to want it
EVERY_S = 1800.0  #: between two looks, whichever runner of this machine takes them
DAY_S = 86400.0
TURN_S = 60.0  #: between two questions whether it is time for a look
CLEAR_S = 300.0  #: that uv may take to clear its cache: it waits for builds
DELETING = ".deleting-"
_PACKAGE = re.compile(r"^(?P<name>[A-Za-z0-9._]+)-[^-]+\.dist-info\Z")


@dataclass(frozen=True)
class Rules:
    """What may stay of what nobody uses."""

    days_max: float = DAYS_MAX
    bytes_max: int = BYTES_MAX
    free_bytes_min: int = 0  #: on the disk


@dataclass(frozen=True)
class Kept:
    """An environment that is there."""

    digest: str
    used_at: float
    bytes: int  #: its part of the disk: a file that several have is shared out
    is_used: bool = False


def to_delete(kept: Sequence[Kept], rules: Rules, *, now: float, free_bytes: int) -> list[Kept]:
    """Those that nobody has used for too long; then, while room is short, the one used least recently."""
    found: list[Kept] = []
    to_free = max(sum(one.bytes for one in kept) - rules.bytes_max, rules.free_bytes_min - free_bytes)
    for one in sorted(kept, key=lambda one: (one.used_at, one.digest)):
        idle_s = now - one.used_at
        if not one.is_used and (idle_s > rules.days_max * DAY_S or (to_free > 0 and idle_s > RECENT_S)):
            found.append(one)
            to_free -= one.bytes
    return found


def hold(home: Path) -> int:
    """Say that the environment is used, from before it is looked for; close the descriptor when that is over.

    Whoever is deleting it is waited for: that is one rename.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(_used(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        os.utime(handle)
    except BaseException:
        os.close(handle)
        raise
    return handle


def let_go(handle: int) -> None:
    """It is used no more, from now on."""
    with contextlib.suppress(OSError):
        os.utime(handle)
    os.close(handle)


def collect(folder: Path, rules: Rules, *, now: float) -> list[str]:
    """Delete what is to go from `<cache>/environments`; the digests.

    May die anywhere: what is half deleted has another name, and the next one deletes the rest.
    """
    for left in [name for name in os.listdir(folder) if name.startswith(DELETING)]:
        delete(folder / left)
    for digest in _digests(folder, "*.lock"):
        _clear_after_killed_builder(folder / digest)
    kept = [seen(folder / digest) for digest in _digests(folder, "*/ultramarine.json")]
    chosen = to_delete(kept, rules, now=now, free_bytes=shutil.disk_usage(folder).free)
    return [one.digest for one in chosen if _deleted(folder / one.digest, one.used_at)]


def packages(folder: Path) -> set[str]:
    """The names of all packages that the environments there have."""
    infos = folder.glob("[!.]*/lib/python3*/site-packages/*.dist-info")
    return {found["name"].lower().replace("_", "-") for info in infos if (found := _PACKAGE.match(info.name))}


class Collector(threading.Thread):
    """Takes a look once in a while, beside everything else."""

    def __init__(self, cache: Path, rules: Rules, *, uv: Callable[[], str | None]) -> None:
        super().__init__(name="unused", daemon=True)
        self._cache = cache
        self._rules = rules
        self._uv = uv

    def run(self) -> None:
        while True:
            time.sleep(TURN_S)
            with contextlib.suppress(OSError):  # the next look is as good
                self.look(now=time.time())

    def look(self, *, now: float) -> list[str]:
        """Collect, unless another runner of this machine is at it or was of late; the digests that are gone."""
        folder = self._cache / "environments"
        if not folder.is_dir():
            return []
        with _taken(folder / ".collecting", fcntl.LOCK_EX | fcntl.LOCK_NB) as mark:
            if mark is None or now - os.fstat(mark).st_mtime < EVERY_S:
                return []
            before = packages(folder)
            gone = collect(folder, self._rules, now=now)
            if gone:
                bytecode.prune(self._cache / "bytecode")
                self._clear(sorted(before - packages(folder)))
            os.utime(mark, (now, now))
        return gone

    def _clear(self, names: Sequence[str]) -> None:
        """Have uv forget packages that no environment has any more: its cache holds their files as well."""
        uv = self._uv()
        if uv is None:
            return
        for words in (["clean", *names], ["prune"]) if names else (["prune"],):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    [uv, "cache", *words, "--quiet", "--cache-dir", str(self._cache / "uv")],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    cwd="/",
                    timeout=CLEAR_S,
                    check=False,
                )


def _used(home: Path) -> Path:
    return home.with_name(f"{home.name}.used")


def _digests(folder: Path, pattern: str) -> list[str]:
    """Of what is named so: the part before the first dot or slash. What begins with a dot is no environment."""
    found = {path.relative_to(folder).parts[0].partition(".")[0] for path in folder.glob(pattern)}
    return sorted(found - {""})


def seen(home: Path) -> Kept:
    """An environment that is there, when it was used last, and whether it is used now."""
    is_known = _used(home).exists()
    with _taken(_used(home), fcntl.LOCK_EX | fcntl.LOCK_NB) as handle:
        if handle is not None and not is_known:  # nobody has used it since it was built
            built_at = os.stat(home).st_mtime
            os.utime(handle, (built_at, built_at))
    # Its size is found without the lock: that takes a while, and who begins to use it would wait for that.
    return Kept(digest=home.name, used_at=os.stat(_used(home)).st_mtime, bytes=_bytes(home), is_used=handle is None)


def _bytes(home: Path) -> int:
    """uv's cache has a link to each file too: it goes with the last environment that has it."""
    total = 0.0
    for path, _, files in os.walk(home):
        for name in files:
            with contextlib.suppress(OSError):
                seen = os.lstat(os.path.join(path, name))
                total += seen.st_blocks * 512 / max(1, seen.st_nlink - 1)
    return round(total)


def _deleted(home: Path, used_at: float) -> bool:
    """False where it is used, was used since, or is being built."""
    aside = home.with_name(f"{DELETING}{home.name}-{os.getpid()}")
    alone = fcntl.LOCK_EX | fcntl.LOCK_NB
    with _taken(_used(home), alone) as used, _taken(lock_of(home), alone) as lock:
        if used is None or lock is None or os.fstat(used).st_mtime > used_at:
            return False
        os.rename(home, aside)
    delete(aside)
    return True


def _clear_after_killed_builder(home: Path) -> None:
    with _taken(lock_of(home), fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
        if lock is not None:
            clear_leftovers(home)


@contextlib.contextmanager
def _taken(file: Path, how: int) -> Generator[int | None, None, None]:
    """The descriptor of a file that is locked, or None where others have locked it."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            yield None
        else:
            yield handle
    finally:
        os.close(handle)
