"""Snapshots: manifests that name files by content, checked before a path of theirs is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import spec

_MODES = (0o600, 0o644, 0o700, 0o755)


@dataclass(frozen=True)
class Entry:
    """One file of a snapshot. `size` in bytes."""

    path: str
    sha256: str
    size: int
    mode: int


@dataclass(frozen=True)
class Manifest:
    """A snapshot: files by content."""

    kind: str  #: folder or file
    files: tuple[Entry, ...]


def read(content: bytes) -> Manifest:
    """Read a manifest; BadSpec when a path in it would leave its folder, or meets another."""
    try:
        raw: Mapping[str, Any] = json.loads(content)
        entries = tuple(
            Entry(
                spec.relative(one["path"], "manifest path"),
                spec.sha256(one["sha256"], "manifest sha256"),
                int(one["size"]),
                mode if (mode := one.get("mode")) in _MODES else 0o644,
            )
            for one in raw["files"]
        )
        kind = str(raw.get("kind") or "folder")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise spec.BadSpec(f"The manifest cannot be read: {type(error).__name__} {error}.") from error
    paths = {entry.path for entry in entries}
    parents = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}
    if len(paths) != len(entries) or paths & parents:
        raise spec.BadSpec("The manifest names a path twice, or uses a file as a folder.")
    if kind == "file" and len(entries) != 1:
        raise spec.BadSpec(f"A manifest of kind file has exactly one entry, this one has {len(entries)}.")
    return Manifest(kind, entries)
