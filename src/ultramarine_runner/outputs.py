"""What a run has written, back to the control plane: blobs by content, then the manifest that names them."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Callable

from .files import PREFIX
from .wire import Channel, Refused, Unreachable, backoff, size_of, words

_ASK_FIRST_BYTES = 1 << 16  #: from this size on it pays to ask whether the file is there already
Note = Callable[[str], None]


class OutputFailed(Exception):
    """An output could not be stored; says which, and why."""


@dataclass(frozen=True)
class Found:
    """A file to upload: its path in the output, and where it really is."""

    path: str
    place: Path


def collect(folder: Path, *, note: Note, is_wanted: Callable[[str], bool] = lambda _: True) -> list[Found]:
    """The regular files below `folder`, sorted. Links are followed to files inside it only; others are noted.

    `is_wanted`: of the name of a file or folder, whether to look at it at all.
    """
    if folder.is_symlink() or not folder.is_dir():
        if folder.is_symlink():
            note(f"{folder.name} is a link and is not uploaded: write into the folder that was given.")
        return []
    root = Path(os.path.realpath(folder))
    return sorted(_walk(root, root, "", note, is_wanted), key=lambda found: found.path)


def _walk(root: Path, folder: Path, prefix: str, note: Note, is_wanted: Callable[[str], bool]) -> Iterator[Found]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if not is_wanted(entry.name):
                continue
            if not _is_text(entry.name):
                note(f"{path!r} is left out: its name is not UTF-8.")
            elif entry.is_dir(follow_symlinks=False):
                yield from _walk(root, Path(entry.path), path + "/", note, is_wanted)
            elif entry.is_symlink():
                real = Path(os.path.realpath(entry.path))
                if root in real.parents and real.is_file():
                    yield Found(path, real)
                else:
                    note(f"{path} is left out: it is a link that leads out of the output, or to a folder.")
            elif entry.is_file(follow_symlinks=False):
                yield Found(path, Path(entry.path))
            else:
                note(f"{path} is left out: it is no file.")


def upload(found: list[Found], channel: Channel, *, kind: str, should_go_on: Callable[[], bool]) -> str:
    """Store the files, then their manifest; its sha256. OutputFailed on a refusal, or when `should_go_on` says no."""
    entries: list[dict[str, object]] = []
    for one in found:
        fd = os.open(one.place, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(fd, "rb") as stream:
            sha256, size = hash_of(stream), size_of(stream)
            store(sha256, stream, size, channel=channel, should_go_on=should_go_on)
            entries.append({"path": one.path, "sha256": sha256, "size": size, "mode": mode_of(os.fstat(fd))})
    sha256, content = manifest(entries, kind=kind)
    store(sha256, content, len(content), channel=channel, should_go_on=should_go_on)
    return sha256


def manifest(entries: Sequence[Mapping[str, object]], *, kind: str) -> tuple[str, bytes]:
    """The manifest of these files, sorted by path, and its sha256."""
    content = json.dumps({"files": entries, "kind": kind}, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(content).hexdigest(), content


def mode_of(seen: os.stat_result) -> int:
    """0755 for what its owner may execute, else 0644."""
    return 0o755 if seen.st_mode & stat.S_IXUSR else 0o644


def store(
    sha256: str, body: bytes | IO[bytes], size: int, *, channel: Channel, should_go_on: Callable[[], bool]
) -> None:
    """Store one blob, unless it is there. OutputFailed on a refusal, or when `should_go_on` says no."""
    for wait in backoff():
        try:
            if size >= _ASK_FIRST_BYTES and channel.request("HEAD", PREFIX + sha256).status == 200:
                return
            answer = channel.request("PUT", PREFIX + sha256, body, size=size)
            if answer.status < 300:
                return
            raise OutputFailed(f"The control plane refused a file of {size} bytes: {answer.status} {words(answer)}")
        except Refused as error:
            raise OutputFailed(str(error)) from error
        except Unreachable as error:
            if not should_go_on():
                raise OutputFailed(f"The control plane did not take it: {error}") from error
            time.sleep(wait)


def hash_of(stream: IO[bytes]) -> str:
    """The sha256 of the rest of an open file."""
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
