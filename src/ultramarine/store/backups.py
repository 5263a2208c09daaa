"""What a backup asks of a database, while a server uses it or none does."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from ultramarine.domain.names import Epoch
from ultramarine.domain.run import Mode
from ultramarine.store import leases
from ultramarine.store import tables as t
from ultramarine.store.outage import limits, told

LOCKED_S = 60.0  #: that a database may be held by a writer


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """`schema`: its revision. `jobs`: how many had not ended."""

    schema: str
    epoch: Epoch
    jobs: int


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment; those who use it are not held up. Raises `sqlite3.Error`, `OSError`."""
    address = f"{source.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=LOCKED_S)) as old, closing(sqlite3.connect(target)) as new:
        # All pages in one step: in several it begins anew at each write of somebody else, and may never end.
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")  # one file, without a -wal beside it


def about(url: str) -> About | None:
    """What the database says of the installation; None when there is none in it. Raises `sqlalchemy.exc.DBAPIError`."""
    with connected(url) as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        schema = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
        epoch = connection.execute(sa.select(t.installation.c.epoch)).scalar_one_or_none()
        is_open_job = sa.and_(t.runs.c.is_open, t.runs.c.mode == Mode.TASK.value)
        jobs = connection.execute(sa.select(sa.func.count()).select_from(t.runs).where(is_open_job)).scalar_one()
    return None if epoch is None else About(schema=schema, epoch=Epoch(epoch), jobs=jobs)


def leader(url: str) -> str:
    """Whose server leads in a PostgreSQL now; empty: nobody's."""
    c = t.leases.c
    query = sa.select(c.owner).where(c.name == leases.SERVER, c.until > leases.CLOCK)
    with connected(url) as connection:
        return connection.execute(query).scalar_one_or_none() or ""


def begin_epoch(url: str, epoch: Epoch) -> None:
    """From now on no key that was given before is one of ours (docs/adr/0004), and who led before does not lead."""
    with connected(url) as connection:
        connection.execute(t.installation.update().values(epoch=epoch))
        connection.execute(t.leases.update().values(owner="", until=leases.NEVER))


@contextmanager
def connected(url: str) -> Generator[sa.Connection]:
    """A transaction of one's own, on no pool."""
    engine = sa.create_engine(url, connect_args=limits(url))
    try:
        with told(url), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
