"""Starting, being killed, and starting again."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ultramarine.tracking.client import MlflowClient
from ultramarine.tracking.environment import environment_in

from .control_plane import ControlPlane
from .server import Server


@pytest.fixture
def own_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="um-") as folder:
        yield Path(folder)


async def test_killed_and_started_again_it_goes_on_with_what_was_logged(
    own_home: Path, environments: Path, server: Server
):
    again, control, run_id = Server(own_home, environments), ControlPlane(own_home), "ab" * 16
    control.add(run_id)
    again.start()
    async with MlflowClient(again.socket) as client:
        await client.runs.set_tag("default", run_id, key="kept", value="yes")
    again.kill()
    assert again.socket.exists(), "a killed server leaves its socket"
    again.start()
    async with MlflowClient(again.socket) as client:
        assert (await client.runs.get("default", run_id)).tags["kept"] == "yes"
    assert control.asked[run_id] == 1
    again.kill()
    control.close()


def test_a_launch_becomes_the_server_in_the_same_process(server: Server):
    command = Path(f"/proc/{server.pid}/cmdline").read_bytes().split(b"\0")
    assert b"uvicorn" in command and b"ultramarine.tracking.launch" not in command


def test_launching_imports_nothing_beyond_the_standard_library(tmp_path: Path):
    code = "import sys, ultramarine.tracking.launch; print(*sorted({m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if not name.startswith("_")} <= {"ultramarine"}


def test_the_folders_of_the_socket_and_the_data_are_the_owners_only(server: Server):
    assert [(server.home / name).stat().st_mode & 0o777 for name in ("run", "mlflow")] == [0o700, 0o700]


def test_nothing_of_the_callers_mlflow_settings_reaches_the_server(own_home: Path, environments: Path, server: Server):
    code = "import sys, os; from ultramarine.tracking import launch; print(launch._own_environ(os.environ))"
    given = {
        **os.environ,
        "MLFLOW_TRACKING_URI": "http://elsewhere",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "PIP_X": "1",
    }
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True)
    assert "MLFLOW_TRACKING_URI" not in done.stdout and "PYTHONPATH" not in done.stdout and "PIP_X" in done.stdout




def test_two_launches_at_once_build_one_environment(own_home: Path, tmp_path: Path):
    servers = [Server(own_home / name, tmp_path / "environments") for name in ("a", "b")]
    for each in servers:
        each.spawn()
    for each in servers:
        each.wait_until_it_answers()
    logs = [each.log.read_text() for each in servers]
    for each in servers:
        each.kill()
    assert sum("environment: ready" in log for log in logs) == 1
    assert sum("waiting for another process" in log for log in logs) == 1
    assert len(list((tmp_path / "environments").glob("env-*/"))) == 1


@pytest.mark.parametrize("step", ["1 of 3", "2 of 3", "3 of 3"])
def test_a_build_that_is_killed_is_done_again_and_leaves_nothing(own_home: Path, tmp_path: Path, step: str):
    server = Server(own_home, tmp_path)
    process = server.spawn()
    deadline = time.monotonic() + 120
    while step not in server.log.read_text():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    server.kill()
    wanted = environment_in(tmp_path)
    assert not wanted.folder.exists()
    server.start()
    server.kill()
    assert wanted.is_whole and list(tmp_path.glob(".building-*")) == []


def test_an_older_database_is_moved_on_a_copy_and_keeps_what_it_had(own_home: Path, environments: Path, server: Server):
    moved = Server(own_home, environments)
    moved.start()
    moved.kill()
    database = own_home / "mlflow" / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET name = 'mine' WHERE experiment_id = 0")
    (own_home / "mlflow" / "mlflow.db.schema").write_text("an older environment")
    moved.start()
    moved.kill()
    assert "moving to this MLflow's schema" in moved.log.read_text()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT name FROM experiments WHERE experiment_id = 0").fetchall() == [("mine",)]
    assert (own_home / "mlflow" / "mlflow.db.schema").read_text() == environment_in(environments).digest


def test_a_lock_that_cannot_be_had_says_which_package(own_home: Path, tmp_path: Path):
    environ = {
        **os.environ,
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": "",
        "UV_CACHE_DIR": str(tmp_path / "c"),
    }
    command = [sys.executable, "-m", "ultramarine.tracking.launch", "--home", str(own_home)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot start" in done.stderr and "aiohttp" in done.stderr
    assert not list((own_home / "mlflow").glob("env-*/"))


def test_asked_to_end_it_ends(own_home: Path, environments: Path, server: Server):
    ending = Server(own_home, environments)
    ending.start()
    os.kill(ending.pid, signal.SIGTERM)
    assert ending.wait() in (0, -signal.SIGTERM)
    shutil.rmtree(own_home / "mlflow" / "tmp")
