"""A backup is one consistent set, whole or not there; a restore brings it back, or changes nothing."""

import errno
import os
import shutil
import sqlite3
import subprocess
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.backup.conftest import EPOCH, MakeHome, blob, epoch_of, models_of, write

from ultramarine.backup import reading, restoring, writing
from ultramarine.backup.contents import SUMS
from ultramarine.backup.restoring import Restored, Wanted, restore
from ultramarine.domain.errors import AlreadyExists, Conflict, DiskFull, InvalidInput, NotFound, UltramarineError
from ultramarine.services.secrets import Secrets
from ultramarine.store import backups
from ultramarine.supervision import lock
from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.home import WHOLE, check_whole
from ultramarine.supervision.listening import Listening

LOG = Path("files", "logs", "e1-j1-1", "0", "std_log.txt")
MODEL = Path("mlflow", "artifacts", "1", "model", "a file\nwith an end")


@pytest.fixture
def file(home: Path, tmp_path: Path) -> Path:
    """A backup of `home`."""
    file = tmp_path / "backup.tar"
    writing.write(home, file)
    return file


def with_key(home: Path, **different: object) -> Wanted:
    return Wanted(**{"master_key": home / "master.key", **different})  # type: ignore[arg-type]


def content_of(home: Path) -> dict[str, bytes]:
    """All that is in a home, by path, but for what is made at a start."""
    found = (path for path in home.rglob("*") if path.is_file() and path.relative_to(home).parts[0] != "run")
    return {str(path.relative_to(home)): path.read_bytes() for path in found}


def refused(call: Callable[[], object], kind: type[UltramarineError]) -> str:
    """What is said, with what to do next."""
    with pytest.raises(kind) as error:
        call()
    assert error.value.hint
    return str(error.value)


def test_a_restored_home_has_all_that_was_there_in_a_new_epoch(home: Path, file: Path, make_home: MakeHome):
    there = make_home("r")
    restored = restore(file, there, with_key(home))
    assert epoch_of(there) == restored.epoch != EPOCH
    assert models_of(there) == "forest"
    assert (there / blob(b"code")).read_bytes() == b"code"
    assert (there / blob(b"code")).stat().st_mode & 0o777 == 0o400
    assert (there / LOG).read_bytes() == b"line 1\n"
    assert (there / MODEL).read_bytes() == b"weights"
    assert (there / "master.key").read_bytes() == (home / "master.key").read_bytes()
    assert (there / "master.key").stat().st_mode & 0o777 == 0o600
    assert restored.kept is None
    assert restored.description.jobs == 1


def test_what_is_of_the_present_or_secret_is_not_in_it(home: Path, file: Path):
    write(home / "nodes" / "e1-c1-1" / "config.json", b"{}")
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert names[0] == "backup.json"
    assert names[1] == "ultramarine.db"
    assert names[-1] == SUMS
    assert not [name for name in names if "master" in name or "incoming" in name or "nodes" in name]
    assert file.stat().st_mode & 0o777 == 0o600
    assert (home / "master.key").read_bytes() not in file.read_bytes()


def test_its_sums_are_those_of_sha256sum(file: Path, tmp_path: Path):
    with tarfile.open(file) as tar:
        tar.extractall(tmp_path / "plain", filter="data")
    subprocess.run(["sha256sum", "--quiet", "--check", SUMS], cwd=tmp_path / "plain", check=True)


def test_it_is_of_one_moment_while_others_write(home: Path, tmp_path: Path):
    """Two tables are always written in one transaction: a copy has as many rows of the one as of the other."""
    stop = threading.Event()
    database = home / "ultramarine.db"
    with closing(sqlite3.connect(database)) as first, first:
        first.execute("CREATE TABLE a (n)")
        first.execute("CREATE TABLE b (n, filling)")

    def go_on() -> None:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            number = 0
            while not stop.is_set():
                with connection:
                    connection.execute("INSERT INTO a VALUES (?)", (number,))
                    connection.execute("INSERT INTO b VALUES (?, zeroblob(20000))", (number,))
                number += 1

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        counts: list[int] = []
        for number in range(5):
            copy = tmp_path / f"copy-{number}.db"
            backups.copy_sqlite(database, copy)
            with closing(sqlite3.connect(copy)) as connection:
                (a,) = connection.execute("SELECT count(*) FROM a").fetchone()
                (b,) = connection.execute("SELECT count(*) FROM b").fetchone()
            assert a == b
            counts.append(a)
    finally:
        stop.set()
        writer.join()
    assert counts == sorted(counts)


def test_it_overwrites_nothing_and_leaves_nothing_beside(home: Path, file: Path, tmp_path: Path):
    before = file.read_bytes()
    assert str(file) in refused(lambda: writing.write(home, file), AlreadyExists)
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "h"]


def test_a_backup_that_was_killed_is_in_nobodys_way(home: Path, tmp_path: Path):
    left = tmp_path / ".again.tar.part"
    write(left / "backup", b"a half")
    writing.write(home, tmp_path / "again.tar")
    assert reading.describe(tmp_path / "again.tar").epoch == EPOCH
    assert not left.exists()


def test_places_that_are_no_good_are_refused(home: Path, tmp_path: Path):
    assert "is in the home" in refused(lambda: writing.write(home, home / "files" / "b.tar"), InvalidInput)
    assert "is not there" in refused(lambda: writing.write(home, tmp_path / "no" / "b.tar"), InvalidInput)
    assert "installation" in refused(lambda: writing.write(tmp_path / "none", tmp_path / "b.tar"), NotFound)


def test_a_full_disk_is_said_and_leaves_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "fsync", full)
    assert "full" in refused(lambda: writing.write(home, tmp_path / "b.tar"), DiskFull)
    assert [path.name for path in tmp_path.iterdir()] == ["h"]


def full(*_: object) -> None:
    """What the system says when a disk is full."""
    raise OSError(errno.ENOSPC, "No space left on device")


# Restoring


def test_an_occupied_home_is_only_replaced_when_that_is_said_and_what_was_there_is_kept(home: Path, file: Path):
    write(home / LOG, b"line 1\nline 2\n")
    before = content_of(home)
    assert "already" in refused(lambda: restore(file, home, Wanted()), Conflict)
    assert content_of(home) == before
    restored = restore(file, home, Wanted(replace=True))
    assert restored.kept is not None
    assert (home / LOG).read_bytes() == b"line 1\n"
    assert (restored.kept / LOG).read_bytes() == b"line 1\nline 2\n"
    assert (epoch_of(home), epoch_of(restored.kept)) == (restored.epoch, EPOCH)
    assert models_of(restored.kept) == "forest"


def test_without_the_master_key_it_says_where_that_was(home: Path, file: Path, make_home: MakeHome):
    there = make_home("r")
    said = refused(lambda: restore(file, there, Wanted()), InvalidInput)
    assert f"{home}/master.key" in said
    wrong = home.parent / "wrong.key"
    Secrets.at(wrong)
    assert "not the master key" in refused(lambda: restore(file, there, Wanted(master_key=wrong)), Conflict)
    assert not restoring.is_occupied(there)
    restore(file, there, Wanted(is_new_key=True))
    assert (there / "master.key").read_bytes() != (home / "master.key").read_bytes()


def test_a_home_in_use_is_left_alone(home: Path, file: Path):
    before = content_of(home)
    with lock.held(home, Listening(port=7770, second_port=7771, instances_port=7772)):
        assert "already runs" in refused(lambda: restore(file, home, Wanted(replace=True)), Conflict)
    assert content_of(home) == before


@pytest.mark.parametrize("share", [0, 0.2, 0.6, 0.99, 1])
def test_a_file_that_ends_early_is_damaged_and_changes_nothing(home: Path, file: Path, share: float):
    """`share`: of what comes before the last line of its sums; behind them a tar file only has zeros."""
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * whole.rindex(b"a file\\n"))])
    before = content_of(home)
    assert "damaged" in refused(lambda: restore(file, home, Wanted(replace=True)), Conflict)
    assert content_of(home) == before


@pytest.mark.parametrize("what", [b"weights", b"line 1\n", b"SQLite format 3"])
def test_a_changed_byte_is_found_and_named(home: Path, file: Path, what: bytes):
    whole = bytearray(file.read_bytes())
    whole[whole.index(what)] ^= 1
    file.write_bytes(whole)
    before = content_of(home)
    assert "is not what was backed up" in refused(lambda: restore(file, home, Wanted(replace=True)), Conflict)
    assert content_of(home) == before


@pytest.mark.parametrize("name", ["../out", "/etc/out", "master.key", "run/x", "files/../../x"])
def test_a_member_that_has_no_business_there_is_refused(file: Path, home: Path, tmp_path: Path, name: str):
    other = tmp_path / "other.tar"
    with tarfile.open(file) as old, tarfile.open(other, "w") as new:
        for member in old:
            if member.name == SUMS:
                new.addfile(tarfile.TarInfo(name))
            new.addfile(member, old.extractfile(member))
    assert "has no business" in refused(lambda: restore(other, home, Wanted(replace=True)), Conflict)
    assert not (tmp_path / "out").exists()


def test_a_backup_of_a_newer_version_is_refused(home: Path, tmp_path: Path):
    with closing(sqlite3.connect(home / "ultramarine.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    file = tmp_path / "newer.tar"
    writing.write(home, file)
    assert "newer" in refused(lambda: restore(file, home, Wanted(replace=True)), Conflict)


def test_what_is_no_backup_is_no_backup(home: Path, tmp_path: Path):
    plain = tmp_path / "notes.txt"
    plain.write_text("no backup")
    assert "damaged" in refused(lambda: reading.describe(plain), Conflict)
    assert "none.tar" in refused(lambda: reading.describe(tmp_path / "none.tar"), NotFound)
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(plain, "notes.txt")
    assert "is no backup" in refused(lambda: reading.describe(tmp_path / "other.tar"), InvalidInput)


def test_a_compressed_backup_is_restored_as_well(home: Path, file: Path, make_home: MakeHome):
    subprocess.run(["gzip", str(file)], check=True)
    there = make_home("r")
    restore(file.with_name("backup.tar.gz"), there, with_key(home))
    assert models_of(there) == "forest"


def test_a_disk_that_fills_half_way_changes_nothing(home: Path, file: Path, monkeypatch: pytest.MonkeyPatch):
    before = content_of(home)
    with monkeypatch.context() as patched:
        patched.setattr(os, "sync", full)
        assert "no room" in refused(lambda: restore(file, home, Wanted(replace=True)), DiskFull)
    assert content_of(home) == before
    usage = shutil.disk_usage(home)

    def nearly_full(_: object) -> object:
        return usage._replace(free=file.stat().st_size - 1)

    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    assert "no room" in refused(lambda: restore(file, home, Wanted(replace=True)), DiskFull)
    assert content_of(home) == before


class Killed(BaseException):
    """As a `kill -9` would: nothing is put right."""


def restore_until(file: Path, home: Path, moves: int, monkeypatch: pytest.MonkeyPatch) -> Restored | None:
    """Restore, killed before the move after so many; None then."""
    left = iter(range(moves))
    move = restoring._move  # pyright: ignore[reportPrivateUsage]

    def counted(old: Path, new: Path) -> None:
        if next(left, None) is None:
            raise Killed
        move(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(restoring, "_move", counted)
        try:
            return restore(file, home, Wanted(replace=True))
        except Killed:
            return None


@pytest.mark.parametrize("moves", range(12))
def test_a_restore_that_was_killed_is_finished_by_the_next(
    home: Path, file: Path, moves: int, monkeypatch: pytest.MonkeyPatch
):
    write(home / LOG, b"line 1\nline 2\n")
    if restore_until(file, home, moves, monkeypatch) is None:
        assert (home / WHOLE).exists()
        with pytest.raises(CannotStart) as cannot:
            check_whole(home)
        assert "um restore" in cannot.value.hint
        restoring.finish(home)
    check_whole(home)
    [kept] = home.glob("replaced-*")
    assert (home / LOG).read_bytes() == b"line 1\n"
    assert (kept / LOG).read_bytes() == b"line 1\nline 2\n"
    assert (models_of(home), models_of(kept)) == ("forest", "forest")
    assert epoch_of(home) != epoch_of(kept) == EPOCH
    assert not (home / ".restoring").exists()
