"""What a run collects: files of JSON lines in its folder `collected`, as the scoring server writes them.

`COLLECTION/2026/11/28/21/PROCESS-NUMBER.jsonl`: of each process only the file with the highest number grows. So of each
series (a collection and a process) one file is followed, the oldest, and deleted once it is shipped and has a follower.
Whole lines only: what was cut off when its writer died never leaves the node.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

_FILE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})/\d{4}(?:/\d\d){0,4}/(\d{1,10})-(\d{1,10})\.jsonl")
_LOOK_S = 1.0  #: how long a line may wait; the last ones are shipped at once
_BACK_BYTES = 1 << 20


@dataclass
class CollectedFile:
    """One file, followed as a log is."""

    url: str
    file: Path
    fd: int
    is_newest: bool = True
    offset: int = 0
    refused: bool = False
    _seen: int = 0
    _whole: int = 0

    @property
    def path(self) -> str:
        """Where the bytes after `offset` are sent."""
        return f"{self.url}?offset={self.offset}"

    @property
    def is_done(self) -> bool:
        """Whether it is of no use here any more."""
        return not self.is_newest and (self.refused or self.offset >= self.size())

    def size(self) -> int:
        """Bytes in whole lines."""
        size = os.fstat(self.fd).st_size
        end = size if size != self._seen else self._whole
        while end > self._whole:
            begin = max(self._whole, end - _BACK_BYTES)
            at = os.pread(self.fd, end - begin, begin).rfind(b"\n")
            if at >= 0:
                self._whole = begin + at + 1
                break
            end = begin
        self._seen = size
        return self._whole

    def chunk(self, size: int, bytes_max: int) -> bytes:
        """What follows the offset: whole lines, where they fit."""
        read = os.pread(self.fd, min(bytes_max, size - self.offset), self.offset)
        return read[: read.rfind(b"\n") + 1] or read


class Collected:
    """The files of one run."""

    def __init__(self, key: str, folder: Path) -> None:
        self._key = key
        self._folder = folder
        self._followed: dict[tuple[str, str], CollectedFile] = {}
        self._look_at = 0.0

    def is_due(self) -> bool:
        """Whether it is time to look again."""
        return time.monotonic() >= self._look_at

    def look(self) -> list[CollectedFile]:
        """The oldest file of each series."""
        self._look_at = time.monotonic() + _LOOK_S
        for series, paths in self._series().items():
            one = self._followed.get(series)
            if one is None:
                one = self._followed[series] = self._follow(paths[0])
            one.is_newest = str(one.file) == os.path.join(self._folder, paths[-1])
        return list(self._followed.values())

    def let_go(self, one: CollectedFile) -> bool:
        """Delete it if it is done; whether it was, so that there may be another behind it."""
        if not one.is_done:
            return False
        series = next(series for series, each in self._followed.items() if each is one)
        os.close(self._followed.pop(series).fd)
        one.file.unlink(missing_ok=True)
        self._look_at = 0.0
        return True

    def close(self) -> None:
        """Let go of all files."""
        for one in self._followed.values():
            os.close(one.fd)
        self._followed.clear()

    def _follow(self, path: str) -> CollectedFile:
        file = self._folder / path
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        return CollectedFile(f"/runner/v1/collected/{self._key}/{path}", file, fd)

    def _series(self) -> dict[tuple[str, str], list[str]]:
        """By collection and process, the paths in their order."""
        found: dict[tuple[str, str], list[tuple[int, str]]] = {}
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), self._folder)
                parts = _FILE.fullmatch(path)
                if parts and not os.path.islink(os.path.join(folder, name)):
                    collection, process, number = parts.groups()
                    found.setdefault((collection, process), []).append((int(number), path))
        return {series: [path for _, path in sorted(files)] for series, files in found.items()}
