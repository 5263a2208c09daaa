"""Files of JSON lines that roll by time and size: `COLLECTION/yyyy/MM/dd/HH/PROCESS-NUMBER.jsonl`.

Whoever ships them away may delete a file as soon as the same process has begun one with a higher number: only the
newest is ever written to. A file ends with a whole line, but for the one that was written when the machine died.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path

PART_BYTES = 16 * 1024 * 1024  #: a file that is larger is followed by the next, in the same hour too
_AT_ONCE_BYTES = 1024 * 1024
_ROLLING = {"year": "%Y", "month": "%Y/%m", "day": "%Y/%m/%d", "hour": "%Y/%m/%d/%H", "minute": "%Y/%m/%d/%H/%M"}
ROLLING = tuple(_ROLLING)


class Rolled:
    """The files of one collection, for one thread."""

    def __init__(self, folder: Path, *, rolling: str) -> None:
        self._folder = folder
        self._form = _ROLLING[rolling]
        self._period = ""
        self._number = 0
        self._file: int | None = None
        self._size = 0
        self._lines: list[bytes] = []
        self._kept_bytes = 0
        self.written = 0  #: lines in the files
        self.lost = 0  #: lines that could not be written

    def add(self, line: bytes, when_s: float) -> None:
        """Keep a line (without its end) for the next `flush`; what is of an earlier period is flushed first.

        A clock that goes back does not go back to an earlier file. Raises OSError as `flush` does; the line is kept.
        """
        period = datetime.fromtimestamp(when_s, timezone.utc).strftime(self._form)
        try:
            if period > self._period or self._kept_bytes > _AT_ONCE_BYTES:
                self.flush()
        finally:
            if period > self._period:
                self.close()
                self._period = period
            self._lines.append(line)
            self._kept_bytes += len(line) + 1

    def flush(self) -> bool:
        """Write what was kept, in one piece; whether there was anything.

        Raises OSError where it cannot be written: none of these lines is in the file then, and they are lost.
        """
        lines, self._lines, self._kept_bytes = self._lines, [], 0
        if not lines:
            return False
        try:
            self._write(memoryview(b"\n".join(lines) + b"\n"))
        except OSError:
            self.lost += len(lines)
            self.close()
            raise
        self.written += len(lines)
        return True

    def _write(self, content: memoryview) -> None:
        # A file that was deleted under us takes bytes for ever, and nobody would find them.
        if self._file is None or self._size >= PART_BYTES or os.fstat(self._file).st_nlink == 0:
            self.close()
            self._file, self._size = self._begin(), 0
        size = self._size + len(content)
        try:
            while content:
                content = content[os.write(self._file, content) :]
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size = size

    def close(self) -> None:
        """The next line goes to a file of its own."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _begin(self) -> int:
        folder = self._folder / self._period
        if not folder.is_dir():
            self._folder.parent.stat()  # it is made by whoever ships: where it is gone, nothing is to be collected
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            self._number += 1
            try:
                path = folder / f"{os.getpid()}-{self._number:06d}.jsonl"
                return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:  # an earlier process had our number
                continue


class Room:
    """How much there may be in a folder. It is looked at once a second."""

    def __init__(self, folder: Path, *, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._look_at = 0.0
        self._is_full = False

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be written for now."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + 1.0
            self._is_full = sum(_sizes(self._folder)) >= self._bytes_max
        return self._is_full


def _sizes(folder: Path) -> list[int]:
    sizes: list[int] = []
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.lstat(os.path.join(place, name)).st_size)
            except FileNotFoundError:  # shipped, and deleted in between
                continue
    return sizes
