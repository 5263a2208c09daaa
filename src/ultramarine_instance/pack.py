"""Packs what runs in an instance as one file: `python instance-<hash>.zip`.

The runner's code is in it: a kernel's environment is built by the very code that builds a job's.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from pathlib import Path

import ultramarine_runner

_PACKAGES = (Path(__file__).parent, Path(ultramarine_runner.__file__).parent)
_ENTRY = b"""import sys

from ultramarine_instance.__main__ import main

sys.exit(main(sys.argv[1:]))
"""
_KINDS = ("*.py", "*.js")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest that a zip can say: equal sources give equal bytes


def build(target_folder: Path) -> Path:
    """Write `instance-<hash>.zip` unless it is there already; its path.

    The name's hash is of the content, so an older server's file is never replaced under a process that reads it.
    """
    content = _content()
    path = target_folder / f"instance-{hashlib.sha256(content).hexdigest()[:16]}.zip"
    if path.exists():
        return path
    target_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=target_folder, prefix=".packing-")
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(fresh, 0o644)
    os.replace(fresh, path)
    return path


def _content() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        _add(archive, "__main__.py", _ENTRY)
        for package in _PACKAGES:
            for path in sorted(path for kind in _KINDS for path in package.rglob(kind)):
                _add(archive, f"{package.name}/{path.relative_to(package).as_posix()}", path.read_bytes())
    return packed.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, date_time=_EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    archive.writestr(member, content)
