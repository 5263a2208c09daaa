"""One MLflow for the whole session, with a control plane's stand-in beside it."""

import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ultramarine.tracking.client import MlflowClient

from .control_plane import ControlPlane
from .server import Server


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where environments are kept from one session to the next: they are built once on a machine."""
    chosen = os.environ.get("ULTRAMARINE_TEST_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "ultramarine-tests"


@pytest.fixture(scope="session")
def environments(cache: Path) -> Path:
    return cache / "mlflow"


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="um-") as folder:  # short: a socket's path has at most 107 bytes
        yield Path(folder)


@pytest.fixture(scope="session")
def control(home: Path) -> Iterator[ControlPlane]:
    plane = ControlPlane(home)
    yield plane
    plane.close()


@pytest.fixture(scope="session")
def server(home: Path, environments: Path, control: ControlPlane) -> Iterator[Server]:
    server = Server(home, environments)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[MlflowClient]:
    async with MlflowClient(server.socket) as client:
        yield client


@pytest.fixture
def run_id() -> str:
    return secrets.token_hex(16)
