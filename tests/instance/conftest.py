"""What every test of an instance begins with."""

import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.instance import running
from tests.instance.control import ControlPlane, answering
from tests.instance.running import Instance
from tests.runner_environments.index import Index, serving

from ultramarine.drivers import pyz

Begin = Callable[..., Instance]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pyz.instance(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="session")
def control() -> Iterator[ControlPlane]:
    with answering() as control:
        yield control


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with serving(tmp_path_factory.mktemp("wheels")) as index:
        yield index


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runner's, in which only what every instance needs has been built."""
    folder = tmp_path_factory.mktemp("cache")
    for name in ("jupyter", "kernel", "client"):
        made, recipe = running.ready_made(name)
        place = folder / "environments" / recipe.digest
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(made)
    return folder


@pytest.fixture(scope="session")
def starter(cache: Path, program: Path, control: ControlPlane, index: Index) -> Iterator[Begin]:
    """Start an instance in a folder, with these settings; it is ended at the latest at the end."""
    begun: list[Instance] = []
    _, jupyter = running.ready_made("jupyter")
    _, kernel = running.ready_made("kernel")
    _, client = running.ready_made("client")
    by_python = {
        field: {one.python: {"digest": one.digest, "lock": one.lock.decode()}}
        for field, one in (("kernels", kernel), ("client", client))
    }
    python = cache / "environments" / jupyter.digest / "bin" / "python"

    def start(folder: Path, **settings: Any) -> Instance:
        told = {**by_python, "options": {"index_url": index.url}} | settings
        begun.append(running.start(folder, program, python, control=control.url, settings=told))
        return begun[-1]

    yield start
    for instance in begun:
        if instance.process.poll() is None:
            instance.process.kill()
            instance.process.wait()


@pytest.fixture(scope="session")
def shared(starter: Begin) -> Iterator[Instance]:
    """One for all who do not change it."""
    with short_folder() as folder:
        instance = starter(folder).until_it_answers()
        yield instance
        assert instance.stop() == 0
        assert instance.kernels() == []


@pytest.fixture
def short() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
def begin(short: Path, starter: Begin) -> Begin:
    """Start an instance with these settings; a second one has the same home."""
    return partial(starter, short)


@contextmanager
def short_folder() -> Generator[Path]:
    """A path that leaves room for sockets."""
    place = Path(tempfile.mkdtemp(prefix="um-"))
    yield place
    shutil.rmtree(place, ignore_errors=True)
