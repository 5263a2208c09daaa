"""The runner as one file: what a driver puts on a machine that need not have anything but a Python."""

import hashlib
import io
import os
import tempfile
import zipfile
from pathlib import Path

import ultramarine_runner
from ultramarine_instance.pack import build as build_instance
from ultramarine_runner import cgroups, machine, trees
from ultramarine_serving.pack import build as build_serving

_START = b"""\
import sys
from ultramarine_runner.__main__ import leave, main

leave(main(sys.argv))
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  #: the same bytes from the same source, whenever and wherever it is packed


def build(target: Path) -> Path:
    """Pack the installed `ultramarine_runner` into `target/runner-<hash>.pyz`, or find it there; its path.

    `target` is a folder, made when it is not there. Raises OSError when it cannot be written.
    """
    content = pack(Path(ultramarine_runner.__file__).parent)
    place = target / f"runner-{hashlib.sha256(content).hexdigest()[:16]}.pyz"
    if place.exists():
        return place
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, fresh = tempfile.mkstemp(dir=target, prefix=".packing-")
    with os.fdopen(fd, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(fd)
    os.replace(fresh, place)
    return place


def pack(package: Path) -> bytes:
    """The archive of a package: its sources in order, stored as they are, with a `__main__.py` that starts it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as into:
        _put(into, "__main__.py", _START)
        for file in sorted(package.rglob("*.py")):
            _put(into, f"{package.name}/{file.relative_to(package).as_posix()}", file.read_bytes())
    return archive.getvalue()


def _put(into: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    into.writestr(entry, content)


def serving(target: Path) -> Path:
    """Pack the scoring server, as replicas get it; its path."""
    return build_serving(target)


def instance(target: Path) -> Path:
    """Pack what runs inside a compute instance; its path."""
    return build_instance(target)


def pythons(cache: Path) -> tuple[str, ...]:
    """The Pythons (x.y) that the runner finds on this machine; kept in `cache`, so that a node need not look."""
    return tuple(machine.pythons(cache))


def carriers(name: str, value: str) -> list[int]:
    """Every living process of this machine that was started with `name=value`, as the runner finds them."""
    return trees.carriers(name, value)


def sweep(allocation: str, *, patience_s: float) -> list[int]:
    """End every process of this machine that carries the allocation's key, as the runner ends what is its own.

    With it goes what is in its control groups, which has hidden whose it is, and the groups. The pids that were
    signalled. Raises `TimeoutError` when some are left after `patience_s` seconds.
    """
    ended = trees.sweep(allocation, patience_s=patience_s)
    cgroups.sweep(allocation, patience_s=patience_s)
    return ended
