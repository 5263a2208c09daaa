"""Whether a file is still the one that was read."""

from __future__ import annotations

import os

Stamp = tuple[int, int, int]


def stamp(stat: os.stat_result) -> Stamp:
    """Another one for each file that was put in place of this one, or written."""
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
