"""One real control plane for the whole folder."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sdk.served import Served, served

from ultramarine.sdk import Workspace


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="um-sdk-") as folder, served(Path(folder) / "home") as found:
        yield found


@pytest.fixture
def workspace(server: Served) -> Workspace:
    return server.workspace()
