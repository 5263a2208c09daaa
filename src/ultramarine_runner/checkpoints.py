"""The folder of a run that outlives it: begun with what those before had kept, kept while it runs and at its end.

For a job it is the checkpoint folder, for a compute instance on another machine its home.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Callable

from .files import Cache
from .machine import boot_s
from .outputs import Found, OutputFailed, collect, hash_of, manifest, mode_of, store
from .snapshot import Entry
from .wire import Channel, Dismissed, size_of

PATIENCE_S = 60.0  #: how long the last checkpoint of an attempt waits for a control plane that takes nothing
SLOWEST_S = 600.0  #: between two tries when each has failed
_TRIES = 5  #: at a folder from which files are being taken away
_CACHES = frozenset((".cache", "__pycache__"))  #: of a home: what is made again
_SETTLED_S = 1.0  #: a file that was written later than this ago may be written again without a new time
Note = Callable[[str], None]
Going = Callable[[], bool]


@dataclass(frozen=True)
class Kind:
    """What such a folder is.

    `is_whole`: its files belong together, so one of which files are missing is none. `is_wanted`: by the name of a file
    or folder, whether it is kept.
    """

    noun: str
    is_whole: bool
    is_wanted: Callable[[str], bool]
    mode: Callable[[os.stat_result], int]


@dataclass(frozen=True)
class Kept:
    """What is kept: the newest manifest's sha256; and why a newer one is not, in words."""

    snapshot: str | None = None
    problem: str = ""


@dataclass(frozen=True)
class _Known:
    """A file that is kept, and what it looked like then."""

    looks: tuple[int, ...]
    entry: Entry


def begin(folder: Path, snapshot: str | None, *, cache: Cache, channel: Channel, note: Note) -> dict[str, _Known]:
    """Make the folder with what was kept last. InputFailed, BadSpec, OSError say why not."""
    folder.mkdir(mode=0o700)
    if snapshot is None:
        return {}
    cache.copy(snapshot, folder, channel, note=note)
    entries = cache.manifest(snapshot, channel, note).files
    return {entry.path: _Known(_looks((folder / entry.path).stat()), entry) for entry in entries}


class Checkpoint:
    """The folder of one run. `keep` is for workers, one at a time; the rest for the link's thread, at any time."""

    def __init__(
        self, folder: Path, kind: Kind, known: dict[str, _Known], *, begun_with: str | None, every_s: float, note: Note
    ) -> None:
        self.kept = Kept(begun_with)
        self._kind = kind
        self._folder = folder
        self._known = known
        self._every_s = every_s
        self._note = note
        self._noted: set[str] = set()
        self._lock = threading.Lock()
        self._next_at: float | None = None  #: on the boot clock; None: its run has not begun
        self._failures = 0

    @property
    def may_be_new(self) -> bool:
        """Whether there is anything to look at: most runs write no checkpoint, and need no thread for it."""
        if self._lock.locked():
            return True
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            return next(entries, None) is not None
        return False

    def is_due(self, now: float) -> bool:
        """Whether to look at it now, on the boot clock: a while after the run began, and after the last look's end."""
        if self._next_at is None:
            self._next_at = now + self._every_s
        return now >= self._next_at and self.may_be_new and not self._lock.locked()

    def keep(self, channel: Channel, *, should_go_on: Going) -> None:
        """Store what has changed, then say so in `kept`. In a worker's thread; what fails leaves the one before.

        An empty folder is no checkpoint. Dismissed is raised.
        """
        with self._lock:
            try:
                snapshot = self._settled(channel, should_go_on)
                self._failures = 0
                self.kept = Kept(snapshot or self.kept.snapshot)
            except Dismissed:
                raise
            except Exception as error:  # the run goes on, and ends, whatever this is
                self._failures += 1
                problem = f"A newer {self._kind.noun} could not be kept: {error}"
                self._say(problem)
                self.kept = Kept(self.kept.snapshot, problem)
            slower = min(self._every_s * 2 ** min(self._failures, 10), max(SLOWEST_S, self._every_s))
            self._next_at = boot_s() + slower

    def _settled(self, channel: Channel, should_go_on: Going) -> str | None:
        """The snapshot; None when there is nothing, or when files were taken away at each try."""
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                return self._snapshot(channel, should_go_on)
        return None

    def _files(self) -> list[Found]:
        return collect(self._folder, note=self._say, is_wanted=self._kind.is_wanted)

    def _snapshot(self, channel: Channel, should_go_on: Going) -> str | None:
        found = self._files()
        entries = [entry for one in found if (entry := self._entry(one, channel, should_go_on)) is not None]
        paths = {one.path for one in found}
        self._refuse_half(paths)
        self._known = {path: known for path, known in self._known.items() if path in paths}
        if not entries:
            return None
        sha256, content = manifest([_as_json(entry) for entry in entries], kind="folder")
        if sha256 != self.kept.snapshot:
            store(sha256, content, len(content), channel=channel, should_go_on=should_go_on)
        return sha256

    def _refuse_half(self, paths: Set[str]) -> None:
        """Half of an old checkpoint that is just being deleted must not stand in place of a whole one."""
        if self._kind.is_whole and (gone := paths - {one.path for one in self._files()}):
            raise FileNotFoundError(f"{min(gone)} was taken away meanwhile.")

    def _entry(self, one: Found, channel: Channel, should_go_on: Going) -> Entry | None:
        """The file as it is kept now; while it changes, as it was kept before, or None when it was not."""
        known = self._known.get(one.path)
        try:
            fd = os.open(one.place, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            if self._kind.is_whole:
                raise
            return None
        with os.fdopen(fd, "rb") as stream:
            looks = _looks(os.fstat(fd))
            if known is not None and known.looks == looks:
                return known.entry
            entry = self._stored(one.path, stream, looks, channel=channel, should_go_on=should_go_on)
        if entry is None:
            self._say(f"{one.path} is left out of a {self._kind.noun}: it changed while it was read.")
            return None if known is None else known.entry
        # One that was written just now may be written again within the same tick of its clock: look again next time.
        is_settled = time.time_ns() - looks[2] > _SETTLED_S * 1e9
        self._known[one.path] = _Known(looks if is_settled else (), entry)
        return entry

    def _stored(
        self, path: str, stream: IO[bytes], looks: tuple[int, ...], *, channel: Channel, should_go_on: Going
    ) -> Entry | None:
        """Store what was read; None when it was another file at the end than at the beginning."""
        mode = self._kind.mode(os.fstat(stream.fileno()))
        entry = Entry(path, hash_of(stream), size_of(stream), mode)
        if _looks(os.fstat(stream.fileno())) != looks:
            return None
        known = self._known.get(path)
        if known is not None and known.entry == entry:
            return entry
        try:
            store(entry.sha256, stream, entry.size, channel=channel, should_go_on=should_go_on)
        except OutputFailed:
            if _looks(os.fstat(stream.fileno())) != looks:  # so its content was not what its name says
                return None
            raise
        return entry

    def _say(self, words: str) -> None:
        """Once: the folder is looked at again and again."""
        if words not in self._noted:
            self._noted.add(words)
            self._note(words)


def _looks(seen: os.stat_result) -> tuple[int, ...]:
    """By which a file is told from what it was."""
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_mode


def _is_finished(name: str) -> bool:
    """Whether it does not say that it is still being written."""
    return not (name.startswith(".") or name.endswith(".tmp"))


def _private_mode(seen: os.stat_result) -> int:
    """As `mode_of`, but what is for its owner alone stays so: programs refuse a key that others may read."""
    mode = mode_of(seen)
    return mode if seen.st_mode & (stat.S_IRWXG | stat.S_IRWXO) else mode & stat.S_IRWXU


CHECKPOINT = Kind("checkpoint", is_whole=True, is_wanted=_is_finished, mode=mode_of)
HOME = Kind("home folder", is_whole=False, is_wanted=lambda name: name not in _CACHES, mode=_private_mode)


def _as_json(entry: Entry) -> dict[str, Any]:
    return {"path": entry.path, "sha256": entry.sha256, "size": entry.size, "mode": entry.mode}
