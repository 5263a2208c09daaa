"""Packs the scoring server as one file that any environment can run: `python serving-<hash>.zip`."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from pathlib import Path

_PACKAGE = Path(__file__).parent
_PARTS = ("__init__.py", "parent.py", "shares.py", "http", "scoring")
_ENTRY = b"""import sys

from ultramarine_serving.scoring.__main__ import main

sys.exit(main(sys.argv[1:]))
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest that a zip can say: equal sources give equal bytes


def build(target_folder: Path) -> Path:
    """Write `serving-<hash>.zip` unless it is there already.

    The name's hash is of the content, so an older server's file is never replaced under a process that reads it.

    Returns:
        The path of the file.
    """
    content = _content()
    path = target_folder / f"serving-{hashlib.sha256(content).hexdigest()[:16]}.zip"
    if path.exists():
        return path
    target_folder.mkdir(parents=True, exist_ok=True)
    handle, written = tempfile.mkstemp(dir=target_folder, prefix=".serving-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(written).chmod(0o644)
        Path(written).replace(path)
    except BaseException:
        Path(written).unlink(missing_ok=True)
        raise
    return path


def _content() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", _ENTRY)
        for path in sorted(_sources(), key=lambda found: found.relative_to(_PACKAGE).as_posix()):
            _add(archive, f"{_PACKAGE.name}/{path.relative_to(_PACKAGE).as_posix()}", path.read_bytes())
    return packed.getvalue()


def _sources() -> list[Path]:
    found: list[Path] = []
    for name in _PARTS:
        part = _PACKAGE / name
        found += [part] if part.is_file() else list(part.rglob("*.py"))
    return found


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, date_time=_EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    archive.writestr(member, content)
