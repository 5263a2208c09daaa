"""Snapshots: a folder or a file as a manifest of blobs. The format is in docs/reference/runner-protocol.md."""

import json
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.spec import refused

FILES_MAX = 100_000
MODES = (0o600, 0o644, 0o700, 0o755)  #: for its owner alone, or for all; executable or not


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str = Field(min_length=1, max_length=4096)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    mode: int

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        plain = PurePosixPath(path)
        is_inside = plain.parts and not plain.is_absolute() and ".." not in plain.parts
        if path != str(plain) or not is_inside or "\\" in path or "\0" in path:
            raise ValueError("a path in a snapshot is relative, with '/' between its parts and without '..'")
        return path

    @field_validator("mode")
    @classmethod
    def _plain(cls, mode: int) -> int:
        if mode not in MODES:
            raise ValueError("a file's mode is 420 (0644), 493 (0755), 384 (0600) or 448 (0700)")
        return mode


class Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: str = Field(pattern="^(file|folder)$")
    files: list[Entry] = Field(max_length=FILES_MAX)

    @property
    def size_bytes(self) -> int:
        return sum(entry.size for entry in self.files)


def parse(content: bytes) -> Manifest:
    """Read a manifest, or `InvalidInput`: it must be canonical, so that the same folder has one name only."""
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise refused(error, what="the snapshot's manifest") from None
    paths = [entry.path for entry in manifest.files]
    if len(set(paths)) != len(paths) or (manifest.kind == "file" and len(paths) != 1):
        raise InvalidInput(
            "The snapshot's manifest names a path twice, or is of kind file without exactly one.",
            hint="Make the manifest again.",
        )
    if content != canonical(manifest.model_dump()):
        raise InvalidInput(
            "The snapshot's manifest is not canonical JSON with its files sorted by path.",
            hint="See docs/reference/runner-protocol.md.",
        )
    return manifest


def canonical(manifest: dict[str, Any]) -> bytes:
    ordered = {**manifest, "files": sorted(manifest["files"], key=lambda entry: entry["path"])}
    return json.dumps(ordered, sort_keys=True, separators=(",", ":")).encode()
