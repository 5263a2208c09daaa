"""Bring an SQLite file, empty or of an older MLflow, to this MLflow's schema."""

# MLflow has no public way in: the version is pinned, and the tests start the real server.
# ruff: noqa: SLF001

import sqlite3
from contextlib import closing

import mlflow.store.db.utils as database


def migrate(path: str) -> None:
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
