"""Real scoring servers, in the environment of real models."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.scoring import environment, servers
from tests.serving.scoring.environment import ModelEnvironment
from tests.serving.scoring.servers import Server

from ultramarine.drivers import pyz

StartScript = Callable[..., Server]
StartModel = Callable[..., Server]
StartOnnx = Callable[..., Server]


@pytest.fixture(scope="session")
def serving_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pyz.serving(tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="session")
def models() -> ModelEnvironment:
    return environment.make()


@pytest.fixture(scope="session")
def cancer(models: ModelEnvironment) -> dict[str, Any]:
    """The breast cancer data: `columns`, `rows`, and what each model itself says of the rows (`expected`)."""
    return json.loads((models.models / "data.json").read_text())


@pytest.fixture
def started() -> Iterator[list[Server]]:
    """Servers of one test; whatever still runs at its end is ended."""
    running: list[Server] = []
    yield running
    for server in running:
        if server.process.poll() is None:
            server.process.kill()
            server.wait()


@pytest.fixture
def start_script(serving_zip: Path, started: list[Server]) -> Iterator[StartScript]:
    """Start a server with the text of a score.py, in the interpreter of the tests: a script needs no libraries."""
    with tempfile.TemporaryDirectory(prefix="um-score-") as made:  # short: a socket's path has 107 bytes at most

        def start(source: str, *options: str, entry: str = "score.py", address: str = "") -> Server:
            folder = Path(made) / str(len(started))
            (folder / "model").mkdir(parents=True)
            script = folder / "code" / entry
            script.parent.mkdir(parents=True)
            script.write_text(source)
            command = [sys.executable, str(serving_zip), "--model-dir", str(folder / "model")]
            command += ["--code", str(folder / "code"), "--entry", entry, *options]
            server = servers.start(command, folder, dict(os.environ), address=address)
            started.append(server)
            return server

        yield start


@pytest.fixture(scope="session")
def start_model(serving_zip: Path, models: ModelEnvironment) -> Iterator[StartModel]:
    """The server of a saved model; it is started once and shared by all tests of the session."""
    running: dict[tuple[str, ...], Server] = {}
    with tempfile.TemporaryDirectory(prefix="um-model-") as made:

        def start(name: str, *options: str) -> Server:
            key = (name, *options)
            saved = models.models / name
            if key not in running:
                folder = Path(made) / str(len(running))
                folder.mkdir()
                link = folder / "model"  # as a run's input is one
                link.symlink_to(saved if saved.exists() else models.estimators / name)
                command = [str(models.python), str(serving_zip), "--site", str(models.site)]
                command += ["--model-dir", str(link), *options]
                running[key] = servers.start(command, folder, {"PATH": os.environ["PATH"], "HOME": made})
            return running[key].wait_until_ready()

        yield start
        for server in running.values():
            server.process.kill()
            server.wait()


@pytest.fixture
def start_onnx(
    serving_zip: Path, models: ModelEnvironment, started: list[Server], tmp_path: Path
) -> Iterator[StartOnnx]:
    """Start the server of an estimator that may answer from its ONNX form; those of a test share what is kept."""
    with tempfile.TemporaryDirectory(prefix="um-onnx-") as made:

        def start(name: str, *, site: Path = models.onnx_site, **variables: str) -> Server:
            folder = Path(made) / str(len(started))
            folder.mkdir()
            command = [str(models.python), str(serving_zip), "--site", str(models.site), "--onnx-site", str(site)]
            command += ["--cache", str(tmp_path / "kept"), "--model-dir", str(models.estimators / name)]
            environment = {"PATH": os.environ["PATH"], "HOME": made, **variables}
            started.append(servers.start(command, folder, environment))
            return started[-1]

        yield start
