"""MLflow's SQLite database: copied from the environment's empty one, moved to a newer MLflow's schema on a copy."""

import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ultramarine.tracking.environment import Environment, migrate
from ultramarine.tracking.progress import say

_WAL_FILES = ("-wal", "-shm")


def ensure_database(file: Path, environment: Environment, *, environ: Mapping[str, str]) -> None:
    """The database of this environment's schema at `file`. Killed anywhere, the next call goes on.

    `<file>.schema` names the environment that it was last brought to.
    """
    schema, aside = file.with_name(file.name + ".schema"), file.with_name(file.name + ".new")
    if file.exists() and schema.exists() and schema.read_text() == environment.digest:
        return
    for left in (aside, *(aside.with_name(aside.name + end) for end in _WAL_FILES)):
        left.unlink(missing_ok=True)
    if file.exists():
        say("database: moving to this MLflow's schema")
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(aside)) as target:
            source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            source.backup(target)
        migrate(environment, aside, environ=environ)
        for end in _WAL_FILES:  # emptied into the old file: nothing is lost by a kill here
            file.with_name(file.name + end).unlink(missing_ok=True)
    else:
        shutil.copyfile(environment.empty_database, aside)
    _publish(aside, file)
    written = schema.with_name(schema.name + ".new")
    written.write_text(environment.digest)
    _publish(written, schema)


def _publish(aside: Path, file: Path) -> None:
    with aside.open("rb+") as written:
        os.fsync(written.fileno())
    aside.rename(file)
