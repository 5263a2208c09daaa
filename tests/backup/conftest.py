"""Homes as an installation leaves them: databases in WAL mode, files by content, logs, artifacts, the master key."""

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.factories import NOON, make_run

from ultramarine.domain.names import Epoch
from ultramarine.services.secrets import Secrets
from ultramarine.store import installation, runs
from ultramarine.store.database import AsyncDatabase
from ultramarine.store.migration import migrate
from ultramarine.supervision.home import prepare

MakeHome = Callable[[str], Path]
EPOCH = Epoch("e1")


@pytest.fixture
def make_home(tmp_path: Path) -> MakeHome:
    """Makes an empty home of a name."""

    def make(name: str) -> Path:
        home = tmp_path / name
        prepare(home)
        return home

    return make


@pytest.fixture
async def home(make_home: MakeHome) -> Path:
    """An installation with one job that had not ended, one blob, one log, one model."""
    home = make_home("h")
    migrate(f"sqlite:///{home / 'ultramarine.db'}")
    db = AsyncDatabase(f"sqlite:///{home / 'ultramarine.db'}")
    async with db.begin() as tx:
        await installation.found(tx, EPOCH, now=NOON)
        await runs.add(tx, make_run(), {"command": "work"})
    await db.close()
    Secrets.at(home / "master.key")
    write(home / blob(b"code"), b"code", mode=0o400)
    write(home / "files" / "logs" / "e1-j1-1" / "0" / "std_log.txt", b"line 1\n")
    write(home / "files" / "incoming" / "half", b"an upload on its way")
    write(home / "mlflow" / "artifacts" / "1" / "model" / "a file\nwith an end", b"weights")
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as mlflow, mlflow:
        mlflow.execute("PRAGMA journal_mode=WAL")
        mlflow.execute("CREATE TABLE models (name TEXT)")
        mlflow.execute("INSERT INTO models VALUES ('forest')")
    (home / "mlflow" / "mlflow.db.schema").write_text("digest")
    return home


def blob(content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    return f"files/sha256/{sha256[:2]}/{sha256}"


def write(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def epoch_of(home: Path) -> str:
    return str(asked(home / "ultramarine.db", "SELECT epoch FROM installation"))


def models_of(home: Path) -> str:
    return str(asked(home / "mlflow" / "mlflow.db", "SELECT group_concat(name) FROM models"))


def asked(database: Path, query: str) -> object:
    engine = sa.create_engine(f"sqlite:///{database}")
    try:
        with engine.connect() as connection:
            return connection.exec_driver_sql(query).scalar_one()
    finally:
        engine.dispose()
