"""One MLflow for the whole session, with a control plane's stand-in beside it."""

import fcntl
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ultramarine.locks.site import site_options
from ultramarine.tracking.client import MlflowClient

from .control_plane import ControlPlane
from .gateway import Gateway
from .server import Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first waits for the environments, which a new machine has to download."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(600))


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


@pytest.fixture
def gateway(server: Server) -> Iterator[Gateway]:
    gateway = Gateway(server.socket, {"token-a": "team-a", "token-b": "team-b"})
    yield gateway
    gateway.close()


@pytest.fixture(scope="session")
def job_python(cache: Path) -> Path:
    """The Python of an environment as a job would have it: MLflow's client and scikit-learn."""
    return environment(cache, "job-mlflow-3.17.2-sklearn-1.9.1", "mlflow==3.17.2", "scikit-learn==1.9.1")


@pytest.fixture(scope="session", params=["3.17.2", "2.22.1"])
def any_job_python(request: pytest.FixtureRequest, cache: Path) -> Path:
    """The same with the newest client, and with one of the second major version."""
    if request.param == "3.17.2":
        return request.getfixturevalue("job_python")
    packages = ("mlflow==2.22.1", "scikit-learn==1.6.1", "setuptools==80.9.0")
    return environment(cache, "job-mlflow-2.22.1-sklearn-1.6.1", *packages)


def environment(cache: Path, name: str, *packages: str) -> Path:
    """The Python of a virtual environment with these packages; built where it is not in the cache."""
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / name
    python = folder / "bin" / "python"
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            uv, environ = Path(sys.executable).with_name("uv"), {**os.environ, **site_options().to_uv_variables()}
            environ.pop("UV_CONSTRAINT", None)
            subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, folder], env=environ, check=True)
            install = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", python]
            subprocess.run([*install, *packages], env=environ, check=True)
            (folder / "whole").touch()
    return python
