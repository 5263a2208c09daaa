"""An installation in PostgreSQL, dumped and brought back by PostgreSQL's own programs."""

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.backup.conftest import EPOCH, MakeHome, blob, write
from tests.e2e.installation import free_ports
from tests.factories import NOON, make_run
from tests.postgresql import PostgreSQL, postgresql

from ultramarine.backup import restoring, writing
from ultramarine.backup.restoring import Wanted, is_occupied, restore
from ultramarine.domain.database import for_sqlalchemy
from ultramarine.domain.errors import Conflict, NotFound, Unavailable
from ultramarine.services.secrets import Secrets
from ultramarine.store import dumps, installation, runs
from ultramarine.store.database import AsyncDatabase
from ultramarine.store.migration import migrate
from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.home import check_whole

CODE = b"code"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql(free_ports()) as made:
        yield made


@pytest.fixture(autouse=True)
def programs(server: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(server.programs))


@pytest.fixture
async def database(server: PostgreSQL) -> str:
    """An installation with one open job, a registered model, and a table of somebody else's."""
    address = server.new_database()
    url = for_sqlalchemy(address)
    migrate(url)
    db = AsyncDatabase(url)
    async with db.begin() as tx:
        await installation.found(tx, EPOCH, now=NOON)
        await runs.add(tx, make_run(), {"command": "work"})
    await db.close()
    do(address, "CREATE SCHEMA mlflow", "CREATE TABLE mlflow.models (name TEXT)", "CREATE TABLE others (word TEXT)")
    do(
        address,
        "CREATE FUNCTION mlflow.same() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER same BEFORE UPDATE ON mlflow.models FOR EACH ROW EXECUTE FUNCTION mlflow.same()",
    )
    do(address, "INSERT INTO mlflow.models VALUES ('forest')", "INSERT INTO others VALUES ('ours')")
    return address


@pytest.fixture
def home(make_home: MakeHome) -> Path:
    home = make_home("h")
    Secrets.at(home / "master.key")
    write(home / blob(CODE), CODE)
    return home


@pytest.fixture
def file(home: Path, database: str, tmp_path: Path) -> Path:
    file = tmp_path / "backup.tar"
    writing.write(home, file, database_url=database)
    return file


def do(address: str, *statements: str) -> None:
    engine = sa.create_engine(for_sqlalchemy(address))
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def asked(address: str, query: str) -> object:
    engine = sa.create_engine(for_sqlalchemy(address))
    try:
        with engine.connect() as connection:
            return connection.exec_driver_sql(query).scalar_one()
    finally:
        engine.dispose()


def epoch_of(address: str) -> object:
    return asked(address, "SELECT epoch FROM installation")


def is_as_it_was(home: Path, address: str) -> None:
    assert epoch_of(address) not in (EPOCH, "later")
    assert asked(address, "SELECT count(*) FROM runs WHERE is_open") == 1
    assert asked(address, "SELECT name FROM mlflow.models") == "forest"
    assert (home / blob(CODE)).read_bytes() == CODE
    do(
        address,
        "INSERT INTO events (workspace, noun, name, id, event, status, reason, at) "
        "VALUES ('w', 'job', 'j', 'j', 'e', 's', '', 0)",
    )  # numbers go on after those that are there


def test_it_comes_back_in_an_empty_home_and_database(home: Path, server: PostgreSQL, file: Path, make_home: MakeHome):
    there, empty = make_home("r"), server.new_database()
    restored = restore(file, there, Wanted(master_key=home / "master.key", database_url=empty))
    is_as_it_was(there, empty)
    assert restored.kept is None
    assert not list(there.rglob("*.dump"))


def test_who_led_at_the_backup_is_not_waited_for(
    home: Path, server: PostgreSQL, database: str, tmp_path: Path, make_home: MakeHome
):
    do(database, "INSERT INTO leases VALUES ('server', 'there:/h', 1, 4000000000000000)")
    writing.write(home, tmp_path / "b.tar", database_url=database)
    empty = server.new_database()
    restore(tmp_path / "b.tar", make_home("r"), Wanted(master_key=home / "master.key", database_url=empty))
    assert asked(empty, "SELECT owner FROM leases WHERE until = 0") == ""


def test_what_is_there_is_refused_then_kept_and_what_is_not_ours_is_let_be(home: Path, database: str, file: Path):
    do(database, "UPDATE installation SET epoch = 'later'", "UPDATE others SET word = 'newer'")
    assert is_occupied(home, database)
    with pytest.raises(Conflict, match=r"in postgresql://um@\S+ already") as refused:
        restore(file, home, Wanted(database_url=database))
    assert "--replace" in refused.value.hint
    restored = restore(file, home, Wanted(replace=True, database_url=database))
    is_as_it_was(home, database)
    assert asked(database, "SELECT word FROM others") == "newer"
    assert restored.kept is not None
    dumps.replace(for_sqlalchemy(database), restored.kept)
    assert epoch_of(database) == "later"


@pytest.mark.parametrize("step", ["before", "between", "after"])
def test_a_restore_that_was_killed_at_the_database_is_finished_by_the_next(
    home: Path, database: str, file: Path, step: str, monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException):
        pass

    def killed(url: str, source: Path) -> None:
        if step == "after":
            replace(url, source)
        elif step == "between":
            do(database, "DROP TABLE installation CASCADE")
        raise Killed

    replace = dumps.replace
    with monkeypatch.context() as patched:
        patched.setattr(restoring.dumps, "replace", killed)
        with pytest.raises(Killed):
            restore(file, home, Wanted(replace=True, database_url=database))
    with pytest.raises(CannotStart):
        check_whole(home)
    restoring.finish(home, database)
    check_whole(home)
    is_as_it_was(home, database)


def test_nobody_restores_under_a_server_that_leads(home: Path, database: str, file: Path):
    do(database, "INSERT INTO leases VALUES ('server', 'there:/h', 1, 4000000000000000)")
    with pytest.raises(Conflict, match="there:/h leads"):
        restore(file, home, Wanted(replace=True, database_url=database))
    assert epoch_of(database) == EPOCH


def test_a_backup_of_the_other_kind_is_refused(home: Path, file: Path, make_home: MakeHome):
    with pytest.raises(Conflict, match="database is postgresql") as refused:
        restore(file, make_home("r"), Wanted(master_key=home / "master.key"))
    assert "--database" in refused.value.hint


def test_without_the_programs_or_the_database_it_is_said_and_nothing_is_left(
    home: Path, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(Unavailable, match="refused"):
        writing.write(home, tmp_path / "b.tar", database_url="postgresql://um@127.0.0.1:1/um")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFound, match="pg_dump") as missing:
        writing.write(home, tmp_path / "b.tar", database_url=database)
    assert "postgresql-client" in missing.value.hint
    assert not list(tmp_path.glob("*b.tar*"))


def test_the_password_is_no_word_of_a_program_and_in_no_file(
    server: PostgreSQL, home: Path, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    programs = tmp_path / "programs"
    programs.mkdir()
    shell, real = shutil.which("sh", path="/usr/bin:/bin"), server.programs / "pg_dump"
    (programs / "pg_dump").write_text(f'#!{shell}\necho "$@" > {tmp_path}/words\nexec {real} "$@"\n')
    (programs / "pg_dump").chmod(0o700)
    monkeypatch.setenv("PATH", str(programs))
    writing.write(home, tmp_path / "backup.tar", database_url=database)
    assert "--dbname=postgresql://um@127.0.0.1" in (tmp_path / "words").read_text()
    assert server.password not in (tmp_path / "words").read_text()
    assert server.password.encode() not in (tmp_path / "backup.tar").read_bytes()
    with tarfile.open(tmp_path / "backup.tar") as tar:
        assert {*dumps.DUMPS} <= {*tar.getnames()}
