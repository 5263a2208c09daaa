"""The part of the disk that stays free: when the rest is full of files, the database can go on writing."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ultramarine.domain.errors import DiskFull


@dataclass(frozen=True, slots=True)
class Reserve:
    """`free_bytes` of the disk that `folder` is on."""

    folder: Path
    free_bytes: int

    def check(self, more_bytes: int = 0) -> None:
        """Raises `DiskFull` when the reserve would be touched by writing `more_bytes`."""
        free = shutil.disk_usage(self.folder).free
        if free - more_bytes < self.free_bytes:
            raise DiskFull(
                f"The disk of {self.folder} has {free // 2**20} MiB left, "
                f"and {self.free_bytes // 2**20} MiB are kept for the server itself.",
                hint="Free some space on the server's disk, then try again; runners try again by themselves.",
            )
