"""Logs of runs: append-only files whose length is the only offset there is."""

import os
from dataclasses import dataclass
from pathlib import Path

from ultramarine.domain.errors import Conflict
from ultramarine.domain.names import RunKey, checked_name
from ultramarine.files.reserve import Reserve


class OffsetDiffers(Conflict):
    """The bytes sent do not follow those that are there; `size` says where to go on."""

    title = "Another offset is wanted"

    def __init__(self, size: int, offset: int) -> None:
        super().__init__(
            f"The file has {size} bytes, and the bytes sent begin at {offset}.", hint=f"Send from byte {size} on."
        )
        self.size = size


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """Which log: of which rank of which run ("0", or "node0" for the runner itself), and the file's name."""

    run: RunKey
    rank: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    place: LogPlace
    size: int


def append(path: Path, content: bytes, *, offset: int, reserve: Reserve) -> int:
    """Add bytes at `offset` to a file that is made where there is none. The size now.

    Raises `OffsetDiffers` where the file does not end at `offset`, and `DiskFull`.
    """
    reserve.check(len(content))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if offset != size:
            raise OffsetDiffers(size, offset)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        return size + len(content)
    finally:
        os.close(descriptor)


class Logs:
    def __init__(self, folder: Path, reserve: Reserve) -> None:
        self._reserve = reserve
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def append(self, place: LogPlace, content: bytes, *, offset: int) -> int:
        """Add bytes at `offset`. The size now.

        Raises `OffsetDiffers` where the log does not end at `offset`, and `DiskFull`.
        """
        return append(self._path(place), content, offset=offset, reserve=self._reserve)

    def files(self, run: RunKey) -> list[LogFile]:
        """What there is of a run, ranks in order, what the runner itself says first."""
        folder = self._folder / run
        found = [
            LogFile(place=LogPlace(run=run, rank=rank.name, file=file.name), size=file.stat().st_size)
            for rank in (folder.iterdir() if folder.is_dir() else ())
            for file in rank.iterdir()
        ]
        return sorted(found, key=lambda log: _order(log.place))

    def read(self, place: LogPlace, *, offset: int, bytes_max: int) -> bytes:
        """Up to `bytes_max` bytes from `offset`; nothing where there is nothing (yet)."""
        try:
            with self._path(place).open("rb") as log:
                log.seek(offset)
                return log.read(bytes_max)
        except FileNotFoundError:
            return b""

    def tail(self, log: LogFile, *, bytes_max: int) -> bytes:
        """The last `bytes_max` bytes."""
        return self.read(log.place, offset=max(0, log.size - bytes_max), bytes_max=bytes_max)

    def _path(self, place: LogPlace) -> Path:
        folder = self._folder / checked_name("run", place.run) / checked_name("rank", place.rank)
        return folder / checked_name("log", place.file)


def _order(place: LogPlace) -> tuple[bool, int, str, str]:
    """What runners say first, then ranks by number."""
    return not place.rank.startswith("node"), len(place.rank), place.rank, place.file
