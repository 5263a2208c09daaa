"""Whether a home and a PostgreSQL may begin together, asked before anything is started."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.e2e.installation import free_ports
from tests.postgresql import PostgreSQL, postgresql

from ultramarine.backup.contents import OWNER_OF_FILES
from ultramarine.domain.database import for_sqlalchemy, without_password
from ultramarine.domain.errors import Conflict, InvalidInput, Unavailable
from ultramarine.server.database import check
from ultramarine.services.secrets import Secrets
from ultramarine.store import tables as t
from ultramarine.store.migration import migrate
from ultramarine.supervision.home import last_database, prepare


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql(free_ports()) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    prepare(tmp_path / "h")
    return tmp_path / "h"


@pytest.fixture
def used(server: PostgreSQL) -> str:
    """A database in which somebody has begun an installation."""
    address = server.new_database()
    migrate(for_sqlalchemy(address))
    engine = sa.create_engine(for_sqlalchemy(address))
    with engine.begin() as connection:
        connection.execute(t.installation.insert().values(epoch="e1", created_at=datetime.now(UTC)))
    engine.dispose()
    return address


def belongs(home: Path) -> None:
    """The key and the files of the installation are there."""
    (home / OWNER_OF_FILES).write_text(Secrets.at(home / "master.key").fingerprint)


def test_an_empty_database_is_taken_and_remembered_without_its_password(server: PostgreSQL, home: Path):
    address = server.new_database()
    check(address, home)
    assert last_database(home) == without_password(address)
    assert server.password not in last_database(home)


def test_a_home_with_a_store_of_its_own_does_not_change_over_silently(server: PostgreSQL, home: Path):
    (home / "ultramarine.db").touch()
    with pytest.raises(Conflict, match="does not move to postgresql://um@") as refused:
        check(server.new_database(), home)
    assert server.password not in f"{refused.value}{refused.value.hint}"
    assert last_database(home) == ""


def test_a_home_without_the_key_or_the_files_does_not_join(used: str, home: Path):
    with pytest.raises(Conflict, match="its master key is not in"):
        check(used, home)
    Secrets.at(home / "master.key")
    with pytest.raises(Conflict, match="its files are not in"):
        check(used, home)
    (home / OWNER_OF_FILES).write_text("of another")
    with pytest.raises(Conflict, match=r"another master\.key"):
        check(used, home)
    belongs(home)
    check(used, home)


def test_what_is_no_database_or_does_not_answer_is_said(home: Path):
    with pytest.raises(InvalidInput, match="mysql://ann@db/um is no address"):
        check("mysql://ann:secret@db/um", home)
    with pytest.raises(Unavailable, match="refused") as away:
        check("postgresql://ann:secret@127.0.0.1:1/um", home)
    assert "psql 'postgresql://ann@127.0.0.1:1/um'" in away.value.hint
    check("sqlite:////a/b.db", home)
    assert last_database(home) == ""
