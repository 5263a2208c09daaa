"""Logs of runs: append-only files whose length is the only offset there is."""

import os
from dataclasses import dataclass
from pathlib import Path

from ultramarine.domain.errors import Conflict
from ultramarine.domain.names import RunKey, checked_name


class OffsetDiffers(Conflict):
    """The bytes sent do not follow those that are there; `size` says where to go on."""

    title = "Another offset is wanted"

    def __init__(self, size: int, offset: int) -> None:
        super().__init__(
            f"The log has {size} bytes, and the bytes sent begin at {offset}.", hint=f"Send from byte {size} on."
        )
        self.size = size


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    rank: str
    file: str
    size: int


class Logs:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def append(self, run: RunKey, rank: str, file: str, offset: int, content: bytes) -> int:
        """Add bytes at `offset`; what is there already is not written again. The size now. Raises `OffsetDiffers` for a gap."""
        path = self._path(run, rank, file)
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

    def files(self, run: RunKey) -> list[LogFile]:
        """What there is of a run, ranks in order, what the runner itself says first."""
        folder = self._folder / run
        found = [
            LogFile(rank=rank.name, file=file.name, size=file.stat().st_size)
            for rank in (folder.iterdir() if folder.is_dir() else ())
            for file in rank.iterdir()
        ]
        return sorted(found, key=lambda log: (not log.rank.startswith("node"), len(log.rank), log.rank, log.file))

    def read(self, run: RunKey, rank: str, file: str, *, offset: int, bytes_max: int) -> bytes:
        """Up to `bytes_max` bytes from `offset`; nothing where there is nothing (yet)."""
        try:
            with self._path(run, rank, file).open("rb") as log:
                log.seek(offset)
                return log.read(bytes_max)
        except FileNotFoundError:
            return b""

    def tail(self, run: RunKey, rank: str, file: str, *, bytes_max: int) -> bytes:
        path = self._path(run, rank, file)
        size = path.stat().st_size if path.exists() else 0
        return self.read(run, rank, file, offset=max(0, size - bytes_max), bytes_max=bytes_max)

    def _path(self, run: RunKey, rank: str, file: str) -> Path:
        return self._folder / checked_name("run", run) / checked_name("rank", rank) / checked_name("log", file)
