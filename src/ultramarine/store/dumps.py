"""PostgreSQL's own programs, for a backup of what is ours in a database, and for the way back.

What is ours: our tables, and MLflow's schema beside them. What else is in the database is let be.
"""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import sqlalchemy as sa

from ultramarine.domain.database import MLFLOW_SCHEMA, for_libpq, password, without_password
from ultramarine.domain.errors import Conflict, NotFound
from ultramarine.store import tables as t
from ultramarine.store.backups import connected

DUMPS = OURS, MLFLOWS = "postgresql.dump", "mlflow.dump"
LOCKED_S = 60  #: that somebody may hold a table which is to be replaced
_NO_ROOM = "No space left on device"


def dump(url: str, folder: Path) -> None:
    """Write what is ours as it is at one moment, whoever uses it meanwhile, as files of the names in `DUMPS`.

    MLflow's is a schema as a whole, with functions in it; ours are tables among others. So it is two dumps of one
    snapshot. Raises `NotFound` where the program is missing, `Conflict` in its words when it fails, `OSError` for a
    full disk.
    """
    with connected(url) as connection:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
        schema = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
        form = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}")
        tables = [f"--table={schema}.{name}" for name in _our_tables()]
        _run("pg_dump", url, *form, f"--file={folder / OURS}", *tables)
        if sa.inspect(connection).has_schema(MLFLOW_SCHEMA):
            _run("pg_dump", url, *form, f"--file={folder / MLFLOWS}", f"--schema={MLFLOW_SCHEMA}")


def replace(url: str, folder: Path) -> None:
    """Put dumps in the place of what is ours. Killed in the middle, it is to be done once more. Raises as `dump`."""
    with connected(url) as connection:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCKED_S}s'")
        for name in _our_tables():
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name} CASCADE")
        connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {MLFLOW_SCHEMA} CASCADE")
    options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
    for name in DUMPS:
        if (folder / name).exists():
            _run("pg_restore", url, *options, str(folder / name))


def _our_tables() -> list[str]:
    return [*t.metadata.tables, "alembic_version"]


def _run(name: str, url: str, *words: str) -> None:
    program = shutil.which(name)
    if program is None:
        raise NotFound(
            "program",
            name,
            hint="Install PostgreSQL's client programs, of the server's version or a newer one "
            "(Debian: apt-get install postgresql-client).",
        )
    address = for_libpq(url)
    secret = {"PGPASSWORD": password(address)} if password(address) else {}
    done = subprocess.run(
        [program, f"--dbname={without_password(address)}", "--no-password", *words],
        env={**os.environ, **secret},
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        return
    if _NO_ROOM in done.stderr:
        raise OSError(errno.ENOSPC, _NO_ROOM)
    raise Conflict(
        f"{name} has failed: {' '.join(done.stderr.split())[:500]}",
        hint=f"{program} must be of the server's version or a newer one, and may do all with our tables.",
    )
