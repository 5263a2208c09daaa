"""Folders and files as content-addressed snapshots: what the server has is not sent again."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol, cast

from pathspec import GitIgnoreSpec

from ultramarine.domain.data import SNAPSHOT
from ultramarine.domain.errors import Conflict, InvalidInput, TooLarge
from ultramarine.sdk.http import Client

FILES_MAX = 100_000
NEVER = (".git/", "__pycache__/", ".ipynb_checkpoints/", ".DS_Store")  #: no code, wherever they lie
Kind = Literal["file", "folder"]


class Progress(Protocol):
    """What an upload tells while it goes on."""

    def begin(self, *, files: int, size_bytes: int) -> None: ...
    def advance(self, size_bytes: int) -> None: ...
    def end(self) -> None: ...


class Silent:
    """Tells nothing."""

    def begin(self, *, files: int, size_bytes: int) -> None: ...
    def advance(self, size_bytes: int) -> None: ...
    def end(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    path: str  #: relative, with "/"
    source: Path
    sha256: str
    size: int
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    kind: Kind
    entries: tuple[Entry, ...]

    @property
    def manifest(self) -> bytes:
        """Canonical JSON: the same content has one name."""
        files = [
            {"path": e.path, "sha256": e.sha256, "size": e.size, "mode": e.mode}
            for e in sorted(self.entries, key=lambda e: e.path)
        ]
        return json.dumps({"files": files, "kind": self.kind}, sort_keys=True, separators=(",", ":")).encode()


def take(path: Path, *, what: str, ignoring: bool = False) -> Snapshot:
    """Hash a file or folder. `what` names it in errors; `ignoring`: without what `.amlignore` or `.gitignore` names."""
    if path.is_file():
        return Snapshot(kind="file", entries=(_entry(path, path.name, what),))
    if not path.is_dir():
        raise InvalidInput(
            f"{what}: there is no file or folder {path}.", hint="Relative paths start at the folder of the YAML file."
        )
    left_out = _ignored(path) if ignoring else GitIgnoreSpec.from_lines(())
    entries: list[Entry] = []
    for relative, source in _walk(path, left_out, what):
        if len(entries) == FILES_MAX:
            raise TooLarge(
                f"{what}: {path} has more than {FILES_MAX} files.",
                hint=f"Name what is not needed in {path / '.amlignore'}.",
            )
        entries.append(_entry(source, relative, what))
    if not entries:
        raise InvalidInput(
            f"{what}: {path} has no files to send.",
            hint=f"Look at it, and at its .amlignore or .gitignore: ls -A {path}",
        )
    return Snapshot(kind="folder", entries=tuple(entries))


def upload(client: Client, workspace_path: str, snapshot: Snapshot, *, progress: Progress | None = None) -> str:
    """Send what the server does not have. Returns `snapshot:<sha256>`; one request when it has all of it."""
    manifest, tell = snapshot.manifest, progress or Silent()
    sha256 = hashlib.sha256(manifest).hexdigest()
    missing = _offer(client, workspace_path, sha256, manifest)
    if missing:
        wanted: Mapping[str, Entry] = {e.sha256: e for e in snapshot.entries}
        tell.begin(files=len(missing), size_bytes=sum(wanted[each].size for each in missing))
        try:
            for each in missing:
                _send(client, workspace_path, wanted[each], tell)
        finally:
            tell.end()
        if _offer(client, workspace_path, sha256, manifest):
            raise Conflict(
                "Files that were sent are not on the server.",
                hint="They may have been changed meanwhile. Send them again.",
            )
    return SNAPSHOT + sha256


def download(client: Client, workspace_path: str, sha256: str, *, folder: Path) -> Iterator[Path]:
    """Write a snapshot's files under `folder`, each checked against its hash; gives each as it is there."""
    root = folder.resolve()
    manifest = client.get(f"{workspace_path}/snapshots/{sha256}")
    for entry in manifest["files"]:
        target = (root / entry["path"]).resolve()
        if not target.is_relative_to(root):
            raise InvalidInput(
                f"The snapshot names {entry['path']!r}, outside of {root}.",
                hint="Nothing of it was written. Tell the one who made it.",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(client, f"{workspace_path}/blobs/{entry['sha256']}", target, entry["sha256"])
        target.chmod(entry["mode"])
        yield target


def _fetch(client: Client, path: str, target: Path, sha256: str) -> None:
    digest, part = hashlib.sha256(), target.with_name(f".{target.name}.part")
    with client.opened(path) as answer, part.open("wb") as stream:
        while chunk := answer.read(1 << 20):
            digest.update(chunk)
            stream.write(chunk)
    if digest.hexdigest() != sha256:
        part.unlink()
        raise Conflict(f"{target.name} arrived damaged.", hint="Download it again.")
    part.replace(target)


def _offer(client: Client, workspace_path: str, sha256: str, manifest: bytes) -> list[str]:
    path = f"{workspace_path}/snapshots/{sha256}"
    return json.loads(client.send("PUT", path, manifest, headers={"Content-Type": "application/json"}))["missing"]


class _Told:
    """A file that tells how far it was read."""

    def __init__(self, source: IO[bytes], tell: Progress) -> None:
        self._source, self._tell = source, tell

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(size)
        self._tell.advance(len(chunk))
        return chunk


def _send(client: Client, workspace_path: str, entry: Entry, tell: Progress) -> None:
    with entry.source.open("rb") as source:
        body = cast(IO[bytes], _Told(source, tell))
        client.send(
            "PUT",
            f"{workspace_path}/blobs/{entry.sha256}",
            body,
            headers={"Content-Length": str(entry.size), "Content-Type": "application/octet-stream"},
        )


def _entry(source: Path, relative: str, what: str) -> Entry:
    try:
        state = source.stat()
        if not stat.S_ISREG(state.st_mode):
            raise InvalidInput(
                f"{what}: {source} is no plain file.",
                hint=f"Take it out of the folder, or name it in {source.parent / '.amlignore'}.",
            )
        with source.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(
            f"{what}: {source} cannot be read: {error.strerror or error}.",
            hint="Make it readable, or name it in .amlignore.",
        ) from None
    return Entry(
        path=relative, source=source, sha256=sha256, size=state.st_size, mode=0o755 if state.st_mode & 0o100 else 0o644
    )


def _ignored(folder: Path) -> GitIgnoreSpec:
    for name in (".amlignore", ".gitignore"):
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
            return GitIgnoreSpec.from_lines([*NEVER, *lines])
    return GitIgnoreSpec.from_lines(NEVER)


def _walk(root: Path, left_out: GitIgnoreSpec, what: str) -> Iterator[tuple[str, Path]]:
    """Each file with its path in the snapshot, in a settled order. Links are followed as long as they stay inside."""
    real_root = root.resolve()
    waiting = [(root, "", frozenset({real_root}))]
    while waiting:
        folder, prefix, above = waiting.pop()
        for found in sorted(os.scandir(folder), key=lambda each: each.name):
            relative, source = prefix + found.name, Path(found.path)
            if left_out.match_file(relative) or (found.is_dir() and left_out.match_file(relative + "/")):
                continue
            _check_name(relative, what)
            if found.is_symlink() and not source.resolve().is_relative_to(real_root):
                raise InvalidInput(
                    f"{what}: {source} is a link to {os.readlink(source)}, outside of {root}, and is not sent.",
                    hint="Copy the file into the folder, or name the link in .amlignore.",
                )
            if not found.is_dir():
                yield relative, source
            elif source.resolve() in above:
                raise InvalidInput(
                    f"{what}: {source} is a link to a folder that holds it.",
                    hint="Remove the link, or name it in .amlignore.",
                )
            else:
                waiting.append((source, relative + "/", above | {source.resolve()}))


def _check_name(relative: str, what: str) -> None:
    try:
        relative.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"{what}: the name {relative.encode(errors='surrogateescape')!r} is no UTF-8.", hint="Rename the file."
        ) from None
    if "\\" in relative:
        raise InvalidInput(f"{what}: the name {relative!r} holds a backslash.", hint="Rename the file.")
