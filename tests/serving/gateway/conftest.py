import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from .running import Gateway, Upstreams


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: Unix sockets live in it."""
    with tempfile.TemporaryDirectory(prefix="gw") as path:
        yield Path(path)


@pytest.fixture
async def upstreams(folder: Path) -> AsyncIterator[Upstreams]:
    made = Upstreams(folder)
    yield made
    await made.stop()


@pytest.fixture(scope="module")
def running_gateway() -> Iterator[Gateway]:
    """One worker. Started once for all tests of a file: it takes a good part of a second."""
    with tempfile.TemporaryDirectory(prefix="gw") as path:
        made = Gateway(Path(path))
        made.start()
        yield made
        made.stop()


@pytest.fixture
async def gateway(running_gateway: Gateway, upstreams: Upstreams) -> AsyncIterator[Gateway]:
    """A gateway with an empty table, before the test and after it."""
    yield running_gateway
    await running_gateway.use()
