"""Bringing a database to the schema of this version, with Alembic."""

from pathlib import Path

import sqlalchemy as sa

from ultramarine.domain.database import is_postgresql
from ultramarine.domain.errors import Conflict
from ultramarine.store.outage import limits, told

LOCK = 1970105701  #: a name among the locks of a PostgreSQL
HEAD = "0008"  #: the newest of `migrations/versions`


def is_known(revision: str) -> bool:
    """Whether this version can read a database of that schema, or bring it up to its own."""
    return any((Path(__file__).parent / "migrations" / "versions").glob(f"{revision}_*.py"))


def migrate(url: str) -> None:
    """Make or upgrade the tables of `sqlite:///…` or `postgresql+psycopg://…`.

    Raises `Conflict` when a newer version has used the database, `Unavailable` when it does not answer.
    """
    engine = sa.create_engine(url, connect_args=limits(url))
    try:
        with told(url), engine.begin() as connection:
            if is_postgresql(url):  # of several servers that start at once one does it
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            if _revision(connection) != HEAD:
                _upgrade(connection, url)
    finally:
        engine.dispose()


def _revision(connection: sa.Connection) -> str | None:
    """What Alembic has written last, read without Alembic: at most starts there is nothing for it to do."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _upgrade(connection: sa.Connection, url: str) -> None:
    # imported late: it takes a fifth of the time of a start, and is needed once for each version
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    if (now := _revision(connection)) is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(now)
        except CommandError:
            raise _newer(url, now) from None
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _newer(url: str, revision: str) -> Conflict:
    shown = sa.make_url(url).render_as_string(hide_password=True)
    return Conflict(
        f"The database {shown} has schema {revision}, which this version of Ultramarine does not know: "
        "a newer version has used it.",
        hint="Install that newer version again, or restore a backup that was made before the upgrade.",
    )
