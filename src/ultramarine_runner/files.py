"""The node's cache of files by content, and snapshots made into folders."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import IO, Callable

from . import snapshot as snapshots
from .snapshot import Manifest
from .wire import Channel, Refused, Unreachable, backoff

PREFIX = "/runner/v1/files/"
_ATTEMPTS_S = 120.0  #: how long a file is asked for before the run is given up
Note = Callable[[str], None]


class InputFailed(Exception):
    """Code or an input could not be brought here; says which, and why."""


class Cache:
    """Blobs by sha256 and whole snapshots, read-only, shared by the runners of a host. Written beside, then renamed."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "files"
        self._snapshots = root / "snapshots"
        for folder in (self._blobs, self._snapshots):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def blob(self, sha256: str, channel: Channel, note: Note) -> Path:
        """The file with this content, fetched when it is not here yet."""
        target = self._blobs / sha256[:2] / sha256
        if target.exists():
            return target
        target.parent.mkdir(mode=0o700, exist_ok=True)
        note(f"fetching {sha256[:12]}")
        fd, fresh = tempfile.mkstemp(dir=self._blobs, prefix=".fetching-")
        try:
            with os.fdopen(fd, "w+b") as stream:
                _fetch(sha256, stream, channel)
            os.chmod(fresh, 0o444)
            os.replace(fresh, target)
        except BaseException:
            os.unlink(fresh)
            raise
        return target

    def manifest(self, snapshot: str, channel: Channel, note: Note) -> Manifest:
        """What a snapshot holds."""
        return snapshots.read(self.blob(snapshot, channel, note).read_bytes())

    def mounted(self, snapshot: str, channel: Channel, note: Note) -> Path:
        """The snapshot as a read-only folder in the cache; for kind `file`, the file itself."""
        content = self.manifest(snapshot, channel, note)
        if content.kind == "file":
            return self._one_file(snapshot, content, channel, note)
        target = self._snapshots / snapshot
        if not target.exists():
            self._make(target, content, channel, note)
        return target

    def copy(self, snapshot: str, into: Path, channel: Channel, *, note: Note) -> None:
        """Put an own, writable copy of the snapshot's files into `into`, a folder that is new."""
        for entry in self.manifest(snapshot, channel, note).files:
            source = self.blob(entry.sha256, channel, note)
            target = into / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            os.chmod(target, entry.mode)

    def _one_file(self, snapshot: str, content: Manifest, channel: Channel, note: Note) -> Path:
        target = self._snapshots / snapshot
        if not target.exists():
            self._make(target, content, channel, note)
        return target / content.files[0].path

    def _make(self, target: Path, content: Manifest, channel: Channel, note: Note) -> None:
        fresh = Path(tempfile.mkdtemp(dir=self._snapshots, prefix=".making-"))
        try:
            for entry in content.files:
                source = self.blob(entry.sha256, channel, note)
                place = fresh / entry.path
                place.parent.mkdir(parents=True, exist_ok=True)
                # A copy where the mode is another: a hard link shares it with the blob.
                if entry.mode & stat.S_IXUSR:
                    shutil.copyfile(source, place)
                    os.chmod(place, 0o555)
                else:
                    os.link(source, place)
            os.rename(fresh, target)
        except OSError:
            if not target.exists():  # else another runner of this host was faster
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        for folder, _, _ in os.walk(target):
            os.chmod(folder, 0o555)


def _fetch(sha256: str, stream: IO[bytes], channel: Channel) -> None:
    deadline = time.monotonic() + _ATTEMPTS_S
    for wait in backoff():
        try:
            channel.fetch(PREFIX + sha256, stream, offset=stream.tell())
        except Refused as error:
            raise InputFailed(f"The file {sha256} could not be fetched: {error}") from error
        except Unreachable as error:
            if time.monotonic() > deadline:
                raise InputFailed(f"The file {sha256} could not be fetched for {_ATTEMPTS_S:.0f} s: {error}") from error
            time.sleep(wait)
            continue
        stream.flush()
        if _hash(stream) == sha256:
            return
        stream.seek(0)
        stream.truncate()
        if time.monotonic() > deadline:
            raise InputFailed(f"The file {sha256} arrives with another content each time: it is damaged at its source.")
        time.sleep(wait)


def _hash(stream: IO[bytes]) -> str:
    stream.seek(0)
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def remove(folder: Path) -> None:
    """Delete a folder whatever a job has made of it (read-only folders, deep trees); what cannot be deleted is left."""

    def allow(function: Callable[..., object], path: str, _: object) -> None:
        with contextlib.suppress(OSError):
            for place in (os.path.dirname(path), path):
                if not os.path.islink(place):
                    os.chmod(place, stat.S_IRWXU)
            if os.path.isdir(path) and not os.path.islink(path):
                remove_once(path)
            else:
                os.unlink(path)

    def remove_once(path: str) -> None:
        shutil.rmtree(path, ignore_errors=True)

    shutil.rmtree(folder, onerror=allow)
