"""Restoring a backup into a home: all of it aside, then in place of what is there, which is kept.

Killed before the mark `whole` is written, nothing was changed; after it `um up` refuses to start, and the next
`um restore` goes on with the same moves, each of which is done once.
"""

import errno
import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ultramarine.backup.contents import (
    DATABASE,
    IN_HOME,
    MASTER_KEY,
    MLFLOW_DATABASE,
    OWNER_OF_FILES,
    WAL,
    Description,
)
from ultramarine.backup.reading import describe, extract
from ultramarine.domain.database import is_postgresql, without_password
from ultramarine.domain.errors import Conflict, DiskFull, InvalidInput
from ultramarine.domain.names import Epoch
from ultramarine.services.secrets import Secrets, new_epoch
from ultramarine.store import backups, dumps
from ultramarine.store.database import url_of
from ultramarine.supervision import lock, parts
from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.home import RESTORING, WHOLE, owner, prepare

REPLACED = (*IN_HOME, *(f"{database}{end}" for database in (DATABASE, MLFLOW_DATABASE) for end in WAL))
KEPT = "kept"  #: a folder, with dumps of what PostgreSQL held before
ROUTES = Path("gateway", "routes.json")
LEFTOVER_GRACE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """`replace`: what is in the home may be moved aside.

    `master_key`: a file with it, where the home has none. `is_new_key`: it is lost, and another one will do.
    """

    replace: bool = False
    master_key: Path | None = None
    is_new_key: bool = False
    database_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """`kept`: where what was there before is now."""

    description: Description
    epoch: Epoch
    kept: Path | None


def is_occupied(home: Path, database_url: str = "") -> bool:
    """Whether a restore into the home would replace something. Raises `Unavailable` when PostgreSQL does not answer."""
    if is_postgresql(database_url) and backups.about(url_of(database_url, home)) is not None:
        return True
    folders = (home / part for part in IN_HOME)
    return any(part.is_file() or (part.is_dir() and any(part.rglob("*"))) for part in folders)


def restore(file: Path, home: Path, wanted: Wanted) -> Restored:
    """Bring a home to what it was when the backup was made, in a new epoch.

    Raises:
        NotFound, InvalidInput, Conflict: see `reading.describe`; the home is in use or occupied; the master key is
            missing or another one's.
        DiskFull: nothing was changed.
    """
    description = describe(file)
    with _held(home):
        finish(home, wanted.database_url)
        is_there = is_occupied(home, wanted.database_url)
        _check(home, wanted, description, is_there=is_there)
        kept = home / f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}" if is_there else None
        with _staging(home) as staged:
            _check_room(file, home)
            extract(file, staged)
            epoch = new_epoch()
            if is_postgresql(wanted.database_url):
                _keep_database(staged, wanted.database_url)
            else:
                backups.begin_epoch(url_of("", staged), epoch)
            entries = [entry for entry in (*REPLACED, *_keep_key(home, staged, wanted)) if (staged / entry).exists()]
            os.sync()  # before the mark, which says that all is there
            mark = {"kept": None if kept is None else kept.name, "entries": entries, "epoch": epoch}
            (staged / "mark").write_text(json.dumps(mark))
            os.replace(staged / "mark", home / WHOLE)
        finish(home, wanted.database_url)
    return Restored(description=description, epoch=epoch, kept=kept)


@contextmanager
def _held(home: Path) -> Generator[None]:
    """Nobody starts in it meanwhile, and nothing that a killed supervisor has left writes to it."""
    try:
        prepare(home)
        with lock.locked(home):
            parts.end_leftovers(home, grace_s=LEFTOVER_GRACE_S)
            yield
    except CannotStart as refused:
        hint = refused.hint if lock.holder(home) is None else f"um down --home {home}"
        raise Conflict(str(refused), hint=hint) from refused


def _check(home: Path, wanted: Wanted, description: Description, *, is_there: bool) -> None:
    if is_there and not wanted.replace:
        where = without_password(wanted.database_url) if is_postgresql(wanted.database_url) else home
        raise Conflict(
            f"There is an installation in {where} already.",
            hint="Give an empty home: um restore FILE --home FOLDER; or move this one aside: um restore FILE --replace",
        )
    is_sqlite = not is_postgresql(wanted.database_url)
    if is_sqlite != (description.database == "sqlite"):
        to_postgresql = "Name it: um restore FILE --database postgresql://USER@HOST/NAME"
        to_sqlite = "Give a home of its own, and no --database: um restore FILE --home FOLDER"
        raise Conflict(
            f"The backup is of an installation whose database is {description.database}, and this one's is not.",
            hint=to_postgresql if is_sqlite else to_sqlite,
        )
    if not is_sqlite and is_there:
        _check_nobody_leads(home, wanted.database_url)
    _check_key(home, wanted, description)


def _check_nobody_leads(home: Path, database_url: str) -> None:
    leader = backups.leader(url_of(database_url, home))
    if leader not in ("", owner(home)):
        raise Conflict(
            f"{leader} leads in {without_password(database_url)}, or did until a moment ago.",
            hint="Stop every server of it there: um down. Then wait 15 s, and restore.",
        )


def _check_key(home: Path, wanted: Wanted, description: Description) -> None:
    if wanted.is_new_key:
        return
    file = wanted.master_key or home / MASTER_KEY
    if not file.is_file():
        raise InvalidInput(
            f"The master key is needed, and {file} is not there. It was {description.home}/{MASTER_KEY} on "
            f"{description.host}, and is in no backup.",
            hint="Give it: um restore FILE --master-key KEYFILE. Lost? um restore FILE --new-master-key: then each "
            "endpoint needs new keys.",
        )
    if Secrets.at(file).fingerprint != description.key_fingerprint:
        raise Conflict(
            f"{file} is not the master key of the installation that was backed up ({description.home} on "
            f"{description.host}).",
            hint="Give that one: um restore FILE --master-key KEYFILE",
        )


@contextmanager
def _staging(home: Path) -> Generator[Path]:
    """Where the backup is unpacked. When that fails nothing of it is left, and nothing was changed."""
    staged = home / RESTORING
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(mode=0o700)
    try:
        yield staged
    except BaseException as failed:
        shutil.rmtree(staged, ignore_errors=True)
        if isinstance(failed, OSError) and failed.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(home) from failed
        raise


def _check_room(file: Path, home: Path) -> None:
    if file.stat().st_size > shutil.disk_usage(home).free:
        raise _full(home)


def _full(home: Path) -> DiskFull:
    return DiskFull(
        f"The disk of {home} has no room for the backup beside what is there; nothing was changed.",
        hint="Free some space, or restore into a home on another disk: um restore FILE --home FOLDER",
    )


def _keep_database(staged: Path, database_url: str) -> None:
    """What PostgreSQL holds now is kept as a dump beside the rest of what was there."""
    url = url_of(database_url, staged)
    if backups.about(url) is not None:
        (staged / KEPT).mkdir()
        dumps.dump(url, staged / KEPT)


def _keep_key(home: Path, staged: Path, wanted: Wanted) -> tuple[str, ...]:
    """Put the key beside the rest, where the home's own is not the one."""
    target = staged / MASTER_KEY
    if wanted.master_key is not None:
        target.touch(mode=0o600)
        target.write_bytes(wanted.master_key.read_bytes())
    elif not (home / MASTER_KEY).exists():
        Secrets.at(target)
    if wanted.is_new_key:
        (staged / OWNER_OF_FILES).unlink(missing_ok=True)  # the next start says whose they are
    return (MASTER_KEY,)


def finish(home: Path, database_url: str = "") -> None:
    """Put what was unpacked in the place of what is there. Nothing to do where no restore was interrupted.

    PostgreSQL's part is done anew as a whole when it was interrupted.
    """
    if not (home / WHOLE).exists():
        return
    mark = json.loads((home / WHOLE).read_text())
    aside = home / (mark["kept"] or RESTORING / "empty")
    for entry in dict.fromkeys((*REPLACED, *mark["entries"])):
        new, there = home / RESTORING / entry, home / entry
        if there.exists() and (new.exists() or entry not in mark["entries"]):  # else it is the new one already
            _move(there, aside / entry)
        if new.exists():
            _move(new, there)
    for dump in (home / RESTORING / KEPT).glob("*.dump"):
        _move(dump, aside / dump.name)
    if (home / RESTORING / dumps.OURS).exists():
        url = url_of(database_url, home)
        dumps.replace(url, home / RESTORING)
        backups.begin_epoch(url, Epoch(mark["epoch"]))
    (home / ROUTES).unlink(missing_ok=True)  # replicas of before are none of ours
    os.sync()
    (home / WHOLE).unlink()
    shutil.rmtree(home / RESTORING, ignore_errors=True)


def _move(old: Path, new: Path) -> None:
    new.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    old.rename(new)
