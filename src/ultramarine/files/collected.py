"""What deployments have collected: `WORKSPACE/ENDPOINT/DEPLOYMENT/COLLECTION/2026/11/28/21/RUN-….jsonl`.

That is Azure's layout. They stay when the deployment goes, and grow on when one of its name is made again.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.names import RunKey, checked_name
from ultramarine.files.logs import append
from ultramarine.files.reserve import Reserve

_PATH = re.compile(
    r"(?P<collection>[A-Za-z0-9][A-Za-z0-9._-]{0,99})/(?P<period>\d{4}(/\d\d){0,4})/(?P<file>[A-Za-z0-9][A-Za-z0-9._-]*\.jsonl)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedOf:
    """Whose they are."""

    workspace: str
    endpoint: str
    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedFile:
    path: str  #: from the collection on
    size: int

    @property
    def collection(self) -> str:
        return self.path.partition("/")[0]


def named(path: str, run: RunKey) -> str:
    """How a file that a replica calls `path` is called here: there may be others of its name."""
    found = _checked(path)
    return f"{found['collection']}/{found['period']}/{checked_name('run', run)}-{found['file']}"


class Collected:
    def __init__(self, folder: Path, reserve: Reserve) -> None:
        self._folder, self._reserve = folder, reserve

    def append(self, of: CollectedOf, path: str, content: bytes, *, offset: int) -> int:
        """Add bytes at `offset`. The size now.

        Raises `OffsetDiffers` where the file does not end at `offset`, and `DiskFull`.
        """
        _checked(path)
        return append(self._of(of) / path, content, offset=offset, reserve=self._reserve)

    def files(self, of: CollectedOf, *, collection: str = "") -> Sequence[CollectedFile]:
        """Of one collection or all, by name and time."""
        return sorted(self._files(of, collection), key=lambda file: file.path)

    def _files(self, of: CollectedOf, collection: str) -> Iterator[CollectedFile]:
        folder = self._of(of)
        for file in (folder / checked_name("collection", collection) if collection else folder).rglob("*.jsonl"):
            with contextlib.suppress(FileNotFoundError):  # removed in between
                yield CollectedFile(path=str(file.relative_to(folder)), size=file.stat().st_size)

    def read(self, of: CollectedOf, path: str, *, offset: int, bytes_max: int) -> bytes:
        """Up to `bytes_max` bytes from `offset`; nothing where there is nothing."""
        _checked(path)
        try:
            with (self._of(of) / path).open("rb") as file:
                file.seek(offset)
                return file.read(bytes_max)
        except FileNotFoundError:
            return b""

    def remove(
        self, of: CollectedOf, *, collection: str = "", before: datetime | None = None
    ) -> Sequence[CollectedFile]:
        """Delete files, with `before` those whose time was over then. Those that were deleted."""
        going = [file for file in self.files(of, collection=collection) if before is None or _end(file) <= before]
        for file in going:
            place = self._of(of) / file.path
            place.unlink(missing_ok=True)
            for folder in place.parents:
                if folder == self._folder:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break  # there is more in it
        return going

    def remove_workspace(self, name: str) -> None:
        """Delete what is of a workspace: another of its name must not find it."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder / checked_name("workspace", name))

    def _of(self, of: CollectedOf) -> Path:
        parts = (("workspace", of.workspace), ("endpoint", of.endpoint), ("deployment", of.deployment))
        return self._folder.joinpath(*(checked_name(noun, name) for noun, name in parts))


def _checked(path: str) -> re.Match[str]:
    found = _PATH.fullmatch(path)
    if found is None:
        raise InvalidInput(
            f"{path[:200]!r} is no file of a collection.", hint="They are named COLLECTION/yyyy/MM/dd/HH/NAME.jsonl."
        )
    return found


def _end(file: CollectedFile) -> datetime:
    """When the time that a file is of is over."""
    year, *parts = (int(part) for part in _checked(file.path)["period"].split("/"))
    month, day, hour, minute = (*parts, *(None,) * (4 - len(parts)))
    if month is None:
        return datetime(year + 1, 1, 1, tzinfo=UTC)
    if day is None:
        return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    begin = datetime(year, month, day, hour or 0, minute or 0, tzinfo=UTC)
    return begin + (
        timedelta(days=1) if hour is None else timedelta(hours=1) if minute is None else timedelta(minutes=1)
    )
