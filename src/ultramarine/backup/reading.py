"""Reading a backup: what it says of itself, and all of it into a folder, checked."""

import hashlib
import os
import tarfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from pydantic import ValidationError

from ultramarine.backup.contents import CHUNK_BYTES, DESCRIPTION, FORMAT, SUMS, Description, line_of_sums, part_of
from ultramarine.domain.errors import Conflict, InvalidInput, NotFound
from ultramarine.store.migration import is_known

COMPUTED = "sums"  #: what was computed while reading, beside what was read


def describe(file: Path) -> Description:
    """What a backup says of itself.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is no backup.
        Conflict: it is damaged, or of a newer version.
    """
    with _opened(file) as tar:
        return _description(tar, file)


def extract(file: Path, folder: Path) -> Description:
    """Write all of its parts under `folder`, which is empty. Raises what `describe` raises."""
    with _opened(file) as tar, (folder / COMPUTED).open("xb") as computed:
        found = _description(tar, file, computed)
        closed = False
        for member in _members(tar):
            content = tar.extractfile(member)
            if closed or content is None or (member.name != SUMS and part_of(member.name) is None):
                raise _damaged(file, f"{member.name!r} has no business in it")
            if member.name == SUMS:
                _save(content, folder / SUMS, mode=0o600)
                closed = True
            else:
                sha256 = _save(content, folder / member.name, mode=member.mode & 0o700)
                computed.write(line_of_sums(sha256, member.name))
    if not closed:
        raise _damaged(file, "its end is missing")
    _compare(file, folder)
    return found


def _compare(file: Path, folder: Path) -> None:
    with (folder / SUMS).open("rb") as said, (folder / COMPUTED).open("rb") as computed:
        for line, found in zip(said, computed, strict=False):
            if line != found:
                name = found.decode(errors="replace").split("  ", 1)[-1].strip()
                raise _damaged(file, f"{name} is not what was backed up")
        if said.read(1) or computed.read(1):
            raise _damaged(file, "some of its files are missing")
    for name in (SUMS, COMPUTED):
        (folder / name).unlink()


@contextmanager
def _opened(file: Path) -> Generator[tarfile.TarFile]:
    """The tar file, from its beginning; compressed or not. What is wrong with it is said in our words."""
    if not file.is_file():
        raise NotFound("backup", str(file), hint="Give the file that um backup has written: um restore FILE")
    try:
        with tarfile.open(file, mode="r|*", bufsize=CHUNK_BYTES) as tar:
            yield tar
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _damaged(file, f"it cannot be read to its end ({error})") from error


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        yield member
        cast(Any, tar).members = []  # else it remembers each of millions


def _description(tar: tarfile.TarFile, file: Path, computed: BinaryIO | None = None) -> Description:
    member = tar.next()
    content = None if member is None or member.name != DESCRIPTION else tar.extractfile(member)
    if content is None:
        raise InvalidInput(f"{file} is no backup of Ultramarine.", hint="Give a file that um backup has written.")
    text = content.read()
    if computed is not None:
        computed.write(line_of_sums(hashlib.sha256(text).hexdigest(), DESCRIPTION))
    try:
        found = Description.model_validate_json(text)
    except ValidationError as error:
        raise _damaged(file, f"{DESCRIPTION} cannot be read: {error.errors()[0]['msg']}") from error
    if found.format > FORMAT or not is_known(found.schema_revision):
        raise Conflict(
            f"{file} was made by version {found.version} (schema {found.schema_revision}), which is newer than this "
            "version of Ultramarine: it cannot be read by it.",
            hint="Install that version or a later one, then restore.",
        )
    return found


def _save(content: IO[bytes], path: Path, *, mode: int) -> str:
    """Write a new file; the SHA-256 of its bytes."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with open(path, "xb", opener=lambda p, flags: os.open(p, flags, mode | 0o200)) as file:
        while piece := content.read(CHUNK_BYTES):
            digest.update(piece)
            file.write(piece)
    path.chmod(mode)
    return digest.hexdigest()


def _damaged(file: Path, why: str) -> Conflict:
    return Conflict(
        f"{file} is damaged: {why}.", hint="Nothing was changed. Fetch the file anew, or restore an older backup."
    )
