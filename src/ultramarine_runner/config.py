"""What a driver wrote down for this runner: `config.json` in the runner's folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .unused import BYTES_MAX, DAYS_MAX, Rules

CLAIM = "claimed.json"
DISK_RESERVE_BYTES = 64 << 20


class BadConfig(Exception):
    """The folder or its `config.json` cannot be used; says what is wrong with it."""


@dataclass(frozen=True)
class Config:
    """Who this runner is and what part of the machine is its own. Sizes in bytes."""

    folder: Path
    cache: Path
    url: str
    allocation: str
    rank: int
    epoch: str
    join_secret: str
    cpus: float
    memory_bytes: int
    gpus: tuple[str, ...]
    uv: str | None
    ca: str | None  #: PEM of what alone is trusted by https; None: what this machine trusts
    server: str  #: `http://HOST:PORT` or `https://…` by which jobs on this node reach the installation
    limits: str  #: `auto`, or `watch`: no control groups, though they could be made
    homes: Path | None  #: where folders are that outlive runs and this runner; None: there is no such place here
    disk_reserve_bytes: int  #: what is always left on the disk, so that runner and control plane can go on writing
    environments: Rules  #: which of those in the cache may stay that nobody uses


def load(folder: Path) -> Config:
    """Read `folder/config.json`; BadConfig when it is not there or lacks a field."""
    file = folder / "config.json"
    if (folder / CLAIM).exists():
        raise _was_used(folder)
    try:
        raw: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise BadConfig(f"{file} cannot be read: {error}. A driver writes it before it starts the runner.") from error
    try:
        return Config(
            folder=folder,
            cache=Path(raw["cache"]),
            url=str(raw["url"]),
            allocation=str(raw["allocation"]),
            rank=int(raw["rank"]),
            epoch=str(raw["epoch"]),
            join_secret=str(raw["join_secret"]),
            cpus=float(raw.get("cpus") or 1.0),
            memory_bytes=int(raw.get("memory_bytes") or 0),
            gpus=tuple(str(gpu) for gpu in raw.get("gpus") or ()),
            uv=raw.get("uv") or None,
            ca=raw.get("ca") or None,
            server=str(raw.get("server") or raw["url"]),
            limits=str(raw.get("limits") or "auto"),
            homes=Path(raw["homes"]) if raw.get("homes") else None,
            disk_reserve_bytes=(reserve := int(raw.get("disk_reserve_bytes", DISK_RESERVE_BYTES))),
            environments=Rules(
                days_max=float(raw.get("environment_days_max", DAYS_MAX)),
                bytes_max=int(raw.get("environments_bytes_max", BYTES_MAX)),
                free_bytes_min=reserve,
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadConfig(f"{file} has no usable {error}. See docs/reference/runner-protocol.md.") from error


def claim(folder: Path) -> None:
    """Take the folder for this process, for ever: BadConfig when a runner, dead or alive, has had it before."""
    try:
        fd = os.open(folder / CLAIM, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise _was_used(folder) from None
    with os.fdopen(fd, "w") as stream:
        json.dump({"pid": os.getpid()}, stream)


def _was_used(folder: Path) -> BadConfig:
    words = "A restarted runner is a new allocation: make another folder."
    return BadConfig(f"A runner was already started in {folder}. {words}")


def drop_secret(folder: Path) -> None:
    """Take the join secret out of `config.json`: it has served."""
    file = folder / "config.json"
    raw: dict[str, Any] = json.loads(file.read_text())
    if raw.pop("join_secret", None) is None:
        return
    fresh = folder / ".config.json.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as stream:
        json.dump(raw, stream)
    os.replace(fresh, file)
