"""Programs and packages of ours as one file that any Python runs or imports. Standard library only."""

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

Member = tuple[str, bytes]  #: a name, and what is in it
MAIN = "__main__.py"  #: the member by which a zip is a program
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest that a zip can say: equal sources give equal bytes


def sources(package: Path, *, parts: Sequence[str] = ("",), kinds: Sequence[str] = ("*.py",)) -> Iterator[Member]:
    """The files of these kinds in these parts of a package (files or folders), by their names below its parent."""
    found: set[Path] = set()
    for part in parts:
        place = package / part
        found |= {place} if place.is_file() else {path for kind in kinds for path in place.rglob(kind)}
    for path in sorted(found):
        yield path.relative_to(package.parent).as_posix(), path.read_bytes()


def packed(members: Iterable[Member], *, is_compressed: bool = True) -> bytes:
    """A zip of these names and contents, the same bytes whenever and wherever it is made."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, body in members:
            member = zipfile.ZipInfo(name, date_time=_EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED if is_compressed else zipfile.ZIP_STORED
            member.external_attr = 0o644 << 16
            archive.writestr(member, body)
    return content.getvalue()


def kept(folder: Path, name: str, content: bytes) -> Path:
    """Write it as `name` with the content's hash in it, or find it there; its path. The folder is made.

    So an older server's file is never replaced under a process that reads it. Raises OSError.
    """
    stem, dot, suffix = name.rpartition(".")
    place = folder / f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}{dot}{suffix}"
    if place.exists():
        return place
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(dir=folder, prefix=".packing-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(fresh).replace(place)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
    return place
