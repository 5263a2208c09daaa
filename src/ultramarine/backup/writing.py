"""Writing a backup: aside, and under its name when it is whole."""

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import platform
import shutil
import sqlite3
import tarfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from ultramarine import __version__
from ultramarine.backup.contents import (
    ARTIFACTS,
    CHUNK_BYTES,
    DATABASE,
    DESCRIPTION,
    FILES,
    FORMAT,
    MASTER_KEY,
    MLFLOW_DATABASE,
    MLFLOW_SCHEMA,
    SUMS,
    Description,
    Size,
    files_under,
    line_of_sums,
)
from ultramarine.domain.errors import AlreadyExists, Conflict, DiskFull, InvalidInput, NotFound
from ultramarine.services.secrets import Secrets
from ultramarine.store import backups, dumps
from ultramarine.store.database import url_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """`sizes`: by part."""

    description: Description
    sizes: Mapping[str, Size]
    file_bytes: int


def write(home: Path, file: Path, *, database_url: str = "") -> Written:
    """Back up the installation of `home`, which may run meanwhile.

    Raises:
        NotFound: there is no installation in `home`, or PostgreSQL's programs are missing.
        AlreadyExists: `file` is there.
        InvalidInput: `file` is in the home, or its folder is not there.
        Conflict: another backup to this file is being written, or PostgreSQL refuses.
        Unavailable: PostgreSQL does not answer.
        DiskFull: nothing is left of what was written.
    """
    _check_target(home, file)
    url = url_of(database_url, home)
    source = _sqlite_file(url)
    if source is not None and not source.exists():
        hint = "Name its home: um backup FILE --home FOLDER; or its database: ULTRAMARINE_DATABASE_URL."
        raise NotFound("installation", str(home), hint=hint)
    try:
        with _aside(file) as folder:
            made = _write(home, folder, url=url, source=source)
            _publish(folder / "backup", file)
            return made
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            f"The disk of {file.parent} is full; nothing was left there.",
            hint="Free some space, or back up to another disk: um backup OTHER/FILE",
        ) from error


def _check_target(home: Path, file: Path) -> None:
    if file.exists():
        raise AlreadyExists("file", str(file), hint="Give another name: a backup overwrites nothing.")
    if not file.parent.is_dir():
        raise InvalidInput(f"The folder {file.parent} is not there.", hint=f"mkdir -p {file.parent}")
    if file.absolute().is_relative_to(home.absolute()):
        raise InvalidInput(
            f"{file} is in the home {home}: what loses the one loses the other.", hint="Give a place on another disk."
        )


def _sqlite_file(url: str) -> Path | None:
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


@contextlib.contextmanager
def _aside(file: Path) -> Generator[Path]:
    """A folder beside the file, gone in the end. What a killed backup has left in it is removed."""
    folder = file.with_name(f".{file.name}.part")
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(f"{file} is being written by another um backup.", hint="Give another name.") from error
        for left in folder.iterdir():
            left.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _write(home: Path, folder: Path, *, url: str, source: Path | None) -> Written:
    if source is None:
        description = _describe(home, url)
        dumps.dump(url, folder)
        there = {name: folder / name for name in dumps.DUMPS if (folder / name).exists()}
    else:
        copies = {DATABASE: source, MLFLOW_DATABASE: home / MLFLOW_DATABASE}
        there = {name: folder / Path(name).name for name, path in copies.items() if path.exists()}
        for name, copy in there.items():  # in this order: contents.py
            _copy(copies[name], copy)
        description = _describe(home, f"sqlite:///{there[DATABASE]}")
    with open(folder / "backup", "xb", opener=_private) as file, _Archive(file, folder / "sums") as archive:
        archive.add_bytes(DESCRIPTION, description.model_dump_json(indent=1).encode())
        for name, copy in there.items():
            archive.add_file(name, copy, part=name)
        if (home / MLFLOW_SCHEMA).exists():
            archive.add_file(MLFLOW_SCHEMA, home / MLFLOW_SCHEMA, part=MLFLOW_DATABASE)
        for part in (FILES, ARTIFACTS):
            for path in files_under(home, part):
                archive.add_file(path, home / path, part=part)
        archive.close_with_sums()
        file.flush()
        os.fsync(file.fileno())
        return Written(description=description, sizes=archive.sizes, file_bytes=file.tell())


def _copy(source: Path, target: Path) -> None:
    try:
        backups.copy_sqlite(source, target)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, str(error)) from error
        raise


def _describe(home: Path, url: str) -> Description:
    about = backups.about(url)
    if about is None or not (home / MASTER_KEY).exists():
        raise NotFound("installation", str(home), hint="It was never started there: um up -d")
    return Description(
        format=FORMAT,
        version=__version__,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        home=str(home),
        host=platform.node(),
        database="sqlite" if url.startswith("sqlite") else "postgresql",
        schema_revision=about.schema,
        epoch=about.epoch,
        jobs=about.jobs,
        key_fingerprint=Secrets.at(home / MASTER_KEY).fingerprint,
    )


class _Archive:
    """A tar file that is written from one end to the other, and the sums of what is in it."""

    def __init__(self, file: BinaryIO, sums: Path) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK_BYTES)  # noqa: SIM115  # closed by close_with_sums
        self._sums = sums.open("x+b")
        self.sizes: dict[str, Size] = {}

    def __enter__(self) -> "_Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._sums.close()

    def add_bytes(self, name: str, content: bytes) -> None:
        self._add(name, io.BytesIO(content), len(content), mode=0o600)

    def add_file(self, name: str, path: Path, *, part: str) -> None:
        """As long as it is now: a log that grows meanwhile is kept up to here. One that is gone is left out."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            status = os.fstat(file.fileno())
            self._add(name, file, status.st_size, mode=status.st_mode & 0o700)
            self.sizes[part] = self.sizes.get(part, Size()).plus(status.st_size)

    def close_with_sums(self) -> None:
        size = self._sums.tell()
        self._sums.seek(0)
        self._tar.addfile(_member(SUMS, size, mode=0o600), self._sums)
        self._tar.close()

    def _add(self, name: str, content: BinaryIO, size: int, *, mode: int) -> None:
        reader = _Hashing(content)
        self._tar.addfile(_member(name, size, mode=mode), reader)
        cast(Any, self._tar).members = []  # else it remembers each of millions
        self._sums.write(line_of_sums(reader.sha256, name))


def _member(name: str, size: int, *, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode
    return member


class _Hashing(io.RawIOBase):
    """What is read through it, and the hash of that."""

    def __init__(self, content: BinaryIO) -> None:
        self._content, self._digest = content, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._content.read(size)
        self._digest.update(piece)
        return piece

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _publish(whole: Path, file: Path) -> None:
    """Give it its name, unless somebody else has taken that meanwhile."""
    try:
        os.link(whole, file)
    except FileExistsError:
        raise AlreadyExists("file", str(file), hint="Give another name: a backup overwrites nothing.") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
            raise
        os.rename(whole, file)  # a disk without hard links
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
