"""Starting, being killed, and starting again."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ultramarine.tracking.client import MlflowClient
from ultramarine.tracking.database import ensure_database
from ultramarine.tracking.environment import environment_in
from ultramarine.tracking.launch import inherited

from .control_plane import ControlPlane
from .server import ENVIRON, Server, wait_until


@pytest.fixture
def own_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="um-") as folder:
        yield Path(folder)


async def test_killed_and_started_again_it_goes_on_with_what_was_logged_and_asked_to_end_it_ends(
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
    os.kill(again.pid, signal.SIGTERM)
    assert again.wait() in (0, -signal.SIGTERM)
    control.close()


def test_a_launch_becomes_the_server_in_the_same_process(server: Server):
    command = Path(f"/proc/{server.pid}/cmdline").read_bytes().split(b"\0")
    assert b"uvicorn" in command
    assert b"ultramarine.tracking.launch" not in command


def test_launching_imports_nothing_beyond_the_standard_library(tmp_path: Path):
    loaded = "{m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names"
    code = f"import sys, ultramarine.tracking.launch; print(*{loaded})"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRON, capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if not name.startswith("_")} <= {"ultramarine"}


def test_the_folders_of_the_socket_and_the_data_are_the_owners_only(server: Server):
    assert [(server.home / name).stat().st_mode & 0o777 for name in ("run", "mlflow")] == [0o700, 0o700]


def test_nothing_of_the_callers_mlflow_settings_reaches_the_server():
    given = {"MLFLOW_TRACKING_URI": "http://elsewhere", "PYTHONPATH": "/x", "PIP_INDEX_URL": "i", "https_proxy": "p"}
    assert inherited(given) == {"PIP_INDEX_URL": "i", "https_proxy": "p"}


@pytest.mark.slow
def test_killed_builds_leave_nothing_and_two_launches_at_once_build_one_environment(own_home: Path, tmp_path: Path):
    wanted = environment_in(tmp_path)
    for number, step in enumerate(("environment: virtual environment", "environment: packages")):
        killed = Server(own_home / str(number), tmp_path)
        killed.spawn()
        wait_until(lambda killed=killed, step=step: step in killed.log.read_text())
        killed.kill()
        assert not wanted.folder.exists()
    servers = [Server(own_home / name, tmp_path) for name in ("a", "b")]
    for each in servers:
        each.spawn()
    for each in servers:
        each.wait_until_it_answers()
    logs = [each.log.read_text() for each in servers]
    for each in servers:
        each.kill()
    assert sum("environment: the last step" in log for log in logs) == 1
    assert sum("waiting for another process" in log for log in logs) == 1
    assert wanted.is_whole
    assert list(tmp_path.glob(".building-*")) == []


def test_an_older_database_is_moved_on_a_copy_and_keeps_what_it_had(environments: Path, server: Server, tmp_path: Path):
    environment, database = environment_in(environments), tmp_path / "mlflow.db"
    ensure_database(database, environment, environ=os.environ)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO workspaces (name) VALUES ('mine')")
    (tmp_path / "mlflow.db.schema").write_text("an older environment")
    (tmp_path / "mlflow.db.new").write_text("left by a move that was killed")
    ensure_database(database, environment, environ=os.environ)
    with closing(sqlite3.connect(database)) as connection:
        assert ("mine",) in connection.execute("SELECT name FROM workspaces").fetchall()
    assert (tmp_path / "mlflow.db.schema").read_text() == environment.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.schema"]


def test_a_lock_that_cannot_be_had_says_which_package(own_home: Path, tmp_path: Path):
    environ = {
        **ENVIRON,
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": "",
        "UV_CACHE_DIR": str(tmp_path / "c"),
    }
    command = [sys.executable, "-m", "ultramarine.tracking.launch", "--home", str(own_home)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot start: uv ended with" in done.stderr
    assert "was not found" in done.stderr
    assert not [*(own_home / "mlflow").glob("env-*/"), *(own_home / "mlflow").glob(".building-*")]
