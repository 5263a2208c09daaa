"""Bring a database, empty or of an older MLflow, to this MLflow's schema."""

# MLflow has no public way in: the version is pinned, and the tests start the real server.
# ruff: noqa: SLF001

import sqlite3
from contextlib import closing

import mlflow.store.db.utils as database
from sqlalchemy.exc import OperationalError

LOCK = 1970105700  # a name among the locks of a PostgreSQL


class NoDatabase(Exception):
    """It does not answer: in its own words."""


def migrate_postgresql(uri: str) -> None:
    """In place, in the schema that `uri` names, which is made. Of several servers that start at once one does it."""
    engine = database.create_sqlalchemy_engine(uri)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({LOCK})")
            schema = connection.exec_driver_sql("SHOW search_path").scalar_one()
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            connection.commit()  # the lock is the connection's, and stays
            if database._is_empty_database(engine):
                database._initialize_tables(engine)
            elif database._get_schema_version(engine) != database._get_latest_schema_revision():
                database._upgrade_db(engine)
    except OperationalError as error:
        raise NoDatabase(str(error.orig).strip().partition("\n")[0]) from error
    finally:
        engine.dispose()


def migrate(path: str) -> None:
    """An SQLite file, in place."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # kept in the file: readers don't wait for writers
    engine = database.create_sqlalchemy_engine_with_retry(f"sqlite:///{path}")
    if database._is_empty_database(engine):
        database._initialize_tables(engine)
    else:
        database._upgrade_db(engine)
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
