"""What takes time, done beside the link's loop: preparing a run, and sending what it has written."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .checkpoints import Checkpoint
from .environments import EnvironmentFailed
from .files import InputFailed, remove
from .folders import Folders
from .outputs import Found, OutputFailed, collect, upload
from .prepare import Prepared, Preparer, output_place
from .spec import BadSpec, Output, Spec
from .wire import Dismissed, Refused, Unreachable

WORKERS = 32
QUIET_S = 5.0  #: so long the log is spared a line that differs from the last one only in how far it is
_HOW_FAR = re.compile(r"\b[0-9a-f]{12}\b|\d+")
_DEFAULT = Output("default", "uri_folder")


class Canceled(Exception):
    """The run was asked to stop while it was being prepared."""


@dataclass(frozen=True)
class Failure:
    """Why a run could not be prepared."""

    cause: str
    words: str


class Notes:
    """The runner's own words about a run: shown as its progress, kept in its preparation log."""

    def __init__(self, log: Path, progress: Callable[[str], None]) -> None:
        self._log = log
        self._progress = progress
        self._canceled = threading.Event()
        self._last = ""
        self._step = ""
        self._written_s = 0.0

    def cancel(self) -> None:
        """The next note raises Canceled in its thread."""
        self._canceled.set()

    def __call__(self, words: str) -> None:
        """Say it."""
        if self._canceled.is_set():
            raise Canceled
        if words != self._last:
            self._last = words
            self._progress(words)
            self._keep(words)

    def _keep(self, words: str) -> None:
        """Write a new step at once, and of one that goes on every few seconds how far it is."""
        step, now_s = _HOW_FAR.sub("", words), time.monotonic()
        if step != self._step or now_s - self._written_s >= QUIET_S:
            self._step, self._written_s = step, now_s
            self.write(words)

    def write(self, words: str) -> None:
        """Say it in the log only."""
        try:
            with self._log.open("a") as stream:
                stream.write(words + "\n")
        except OSError:
            return  # a full disk is told by what needs the disk


class Work:
    """A few threads."""

    def __init__(self, preparer: Preparer, dismissed: Callable[[Dismissed], None]) -> None:
        self._preparer = preparer
        self._dismissed = dismissed
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="work")

    def prepare(
        self, key: str, spec: Spec, folders: Folders, *, notes: Notes, done: Callable[[Prepared | Failure | None], None]
    ) -> None:
        """Prepare a run, then call `done` in the worker's thread; with None when it was canceled."""

        def job() -> None:
            try:
                done(self._preparer.prepare(key, spec, folders.root, note=notes, say=notes.write))
            except Canceled:
                done(None)
            except Dismissed as error:
                self._dismissed(error)
            except Exception as error:  # the run must end, whatever this is
                failure = _failure(error)
                notes.write(failure.words)
                done(failure)

        self._pool.submit(job)

    def remove(self, folders: Sequence[Path]) -> None:
        """Delete folders, without anybody waiting for it."""
        for folder in folders:
            self._pool.submit(remove, folder)

    def keep(self, checkpoint: Checkpoint, *, should_go_on: Callable[[], bool], done: Callable[[], None]) -> None:
        """Keep what is new in a checkpoint folder, then call `done`."""

        def job() -> None:
            try:
                checkpoint.keep(self._preparer.channel, should_go_on=should_go_on)
            except Dismissed as error:
                self._dismissed(error)
                return
            done()

        self._pool.submit(job)

    def send(
        self,
        spec: Spec,
        folders: Folders,
        notes: Notes,
        *,
        should_go_on: Callable[[], bool],
        done: Callable[[Mapping[str, str], str | None], None],
    ) -> None:
        """Upload the outputs, then call `done` with their manifests by name, and what went wrong, if it did."""

        def job() -> None:
            sent: dict[str, str] = {}
            wrong: list[str] = []
            for one in (_DEFAULT, *spec.outputs):
                try:
                    kind, found = _found(folders, one, notes)
                    if found or one is not _DEFAULT:
                        sent[one.name] = upload(found, self._preparer.channel, kind=kind, should_go_on=should_go_on)
                except Dismissed as error:
                    self._dismissed(error)
                    return
                except (OutputFailed, OSError) as error:
                    wrong.append(f"{one.name}: {_unread(error, folders) if isinstance(error, OSError) else error}")
                    notes.write(wrong[-1])
            done(sent, " ".join(wrong) or None)

        self._pool.submit(job)


def has_outputs(spec: Spec, folders: Folders) -> bool:
    """Whether there is anything to send: most short runs write nothing, and need no thread for it."""
    default = folders.code / "outputs"
    try:
        return bool(spec.outputs) or default.is_symlink() or any(default.iterdir())
    except OSError:
        return False


def _found(folders: Folders, one: Output, notes: Notes) -> tuple[str, list[Found]]:
    if one is _DEFAULT:
        return "folder", collect(folders.code / "outputs", note=notes.write)
    place = output_place(folders.root, one)
    folder = place if one.kind != "uri_file" else place.parent
    found = collect(folder, note=notes.write)
    is_file = one.kind == "uri_file" and len(found) == 1
    return "file" if is_file else "folder", found


def _unread(error: OSError, folders: Folders) -> str:
    """A file of an output that was there and cannot be read: it is named from the run's folder."""
    name = os.path.relpath(error.filename, folders.root) if error.filename else "a file"
    return f"{name} could not be read: {error.strerror or error}."


def _failure(error: Exception) -> Failure:
    known: Mapping[type[Exception], str] = {
        EnvironmentFailed: "environment",
        InputFailed: "input",
        BadSpec: "input",
        Refused: "input",
        Unreachable: "input",
    }
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure("disk_full", f"The node's disk is full: {error}.")
    cause = next((cause for kind, cause in known.items() if isinstance(error, kind)), "runner")
    return Failure(cause, str(error) if cause != "runner" else f"Preparing failed: {type(error).__name__}: {error}")
