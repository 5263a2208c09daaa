"""An installation's life: what refuses to start says why, what is taken down leaves nothing, what is kept is found."""

import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ultramarine.sdk import Workspace
from ultramarine.sdk.connection import Connection

from .installation import Installation, carriers, installed, is_alive, leftovers, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LONG = 100_000  #: lines: a job that goes on until it is ended


@pytest.fixture
def it(cache: Path) -> Iterator[Installation]:
    """One of its own that is not started yet."""
    with installed(cache) as made:
        yield made


@pytest.fixture(scope="module")
def up(cache: Path) -> Iterator[Installation]:
    """One that runs, and says all that it can into its logs."""
    with installed(cache, ULTRAMARINE_LOG_LEVEL="debug") as made:
        made.up()
        yield made


def is_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode != 0
    for word in words:
        assert word in done.stderr, done.stderr


def test_down_ends_what_runs_and_says_what_that_was(it: Installation):
    it.up()
    it.cluster()
    for index in range(3):
        it.count(f"long-{index}", LONG)
    for index in range(3):
        it.comes_to(f"long-{index}", "Running")
    done = it.down()
    assert "long-1" in done.stderr
    assert not leftovers(it.home, it.epoch)
    assert not list((it.home / "nodes").iterdir())


def test_what_is_kept_runs_on_without_the_server_and_is_found_by_the_next(it: Installation):
    it.up()
    it.cluster()
    it.count("kept", 300)
    node = it.comes_to("kept", "Running")["nodes"][0]
    link, keeper = it.runner(node)
    it.down("--keep-runs")
    assert {is_alive(link), is_alive(keeper)} == {True}
    it.up()
    job = it.comes_to("kept", "Completed")
    assert (job["attempt"], job["nodes"]) == (1, [node])
    assert it.log("kept", 1) == "".join(f"line {number}\n" for number in range(300))
    assert it.numbers("kept") == list(range(300))


def test_down_leaves_nothing_though_the_supervisor_was_killed(it: Installation):
    it.up()
    it.cluster()
    it.count("long", LONG)
    it.comes_to("long", "Running")
    os.kill(it.supervisor(), signal.SIGKILL)
    it.down()
    assert not leftovers(it.home, it.epoch)
    assert not list((it.home / "nodes").iterdir())


def test_down_leaves_nothing_though_the_control_plane_is_killed_meanwhile(it: Installation):
    it.up()
    it.cluster()
    it.count("long", LONG)
    it.comes_to("long", "Running")
    os.kill(it.pid("control"), signal.SIGKILL)
    it.down()
    assert not leftovers(it.home, it.epoch)
    assert not list((it.home / "nodes").iterdir())


def test_a_port_in_use_is_named_with_another_to_type(it: Installation):
    with socket.create_server(("127.0.0.1", it.port)):
        is_refused(it.um("up", "-d", "--port", str(it.port)), f"Port {it.port}", "um up --port")


def test_a_home_that_cannot_be_written_is_named(it: Installation):
    it.home.touch()  # a file, which root cannot make folders in either
    is_refused(it.um("up", "-d", "--port", str(it.port)), str(it.home), "um up --home")
    it.home.unlink()


def test_the_database_of_a_newer_version_is_left_alone(it: Installation):
    it.up()
    it.down()
    with sqlite3.connect(it.home / "ultramarine.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    is_refused(it.um("up", "-d", "--port", str(it.port)), "9999", "newer version")
    assert not leftovers(it.home, it.epoch)
    with sqlite3.connect(it.home / "ultramarine.db") as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_a_deleted_compute_takes_its_runs_and_nodes_along(up: Installation):
    up.cluster()
    for index in range(3):
        up.count(f"long-{index}", LONG)
    for index in range(3):
        up.comes_to(f"long-{index}", "Running")
    up.workspace.computes.delete("c")
    up.workspace.computes.wait_gone("c", timeout_s=60)
    assert {up.job(f"long-{index}")["status"] for index in range(3)} == {"Canceled"}
    until(lambda: not list((up.home / "nodes").iterdir()), "no node has a folder")
    assert not [pid for pid, words in leftovers(up.home, up.epoch) if "runner-" in words]


def test_a_second_up_in_the_same_home_says_where_it_is_or_is_refused_and_hurts_nothing(up: Installation):
    before = up.pid("control")
    again = up.um("up", "-d")
    assert again.returncode == 0
    assert f"is up already at http://127.0.0.1:{up.port}" in again.stderr
    for words in (("-d", "--port", str(up.port + 10)), ("--port", str(up.port))):
        is_refused(up.um("up", *words), "already runs", "um status")
    assert up.pid("control") == before


def test_what_the_environment_says_of_the_second_port_is_heeded(it: Installation):
    it.settings["ULTRAMARINE_SECOND_PORT"] = str(it.port + 7)
    it.up()
    assert it.workspace.installation.login_link("/mlflow/", workspace="default").startswith(
        f"http://127.0.0.1:{it.port + 7}/"
    )
    with socket.create_connection(("127.0.0.1", it.port + 7), timeout=5):
        pass


def test_a_deleted_workspace_takes_its_history_along_and_the_next_of_its_name_is_empty(up: Installation):
    vision = Workspace(Connection(url=up.workspace.connection.url, token=up.workspace.connection.token, workspace="v"))
    for _ in range(2):
        vision.workspaces.create_or_update("v")
        assert list(vision.jobs.list()) == []
        vision.jobs.create({"name": "one", "command": "true", "environment": "minimal", "compute": "local"})
        until(lambda: vision.jobs.get("one")["status"] == "Completed", "the job has ended")
        assert vision.jobs.get("one")["started_at"] <= vision.jobs.get("one")["ended_at"]
        vision.workspaces.delete("v")
        vision.workspaces.wait_gone("v", timeout_s=120)
    assert [row["name"] for row in up.workspace.workspaces.list()] == ["default"]


def test_nothing_secret_is_written_into_a_log(up: Installation):
    up.cluster("d")
    up.count("one", 20, compute="d")
    up.comes_to("one", "Completed")
    secrets = [up.workspace.connection.token, (up.home / "run" / "internal.secret").read_text().strip()]
    told = up.told(lines=100_000)
    assert "control.log" in told
    for secret in secrets:
        assert secret, "there is a secret to look for"
        assert secret not in told


def test_a_node_that_is_cut_off_ends_its_job_before_another_attempt_begins(cache: Path):
    settings = {"LEASE_S": "4", "LEASE_MARGIN_S": "2", "SILENT_AFTER_S": "3"}
    with installed(cache, **{f"ULTRAMARINE_{name}": value for name, value in settings.items()}) as it:
        it.up()
        it.cluster(nodes=2)
        it.count("cut-off", 150, pause_s=0.05, retries=0)
        first = it.run_key(it.comes_to("cut-off", "Running"))
        it.down("--keep-runs")
        until(lambda: not carriers(f"ULTRAMARINE_RUN_KEY={first}"), "its runner ends it when the lease is over")
        assert set(it.starts()) == {first}
        it.up()
        until(lambda: it.job("cut-off")["attempt"] == 2, "the second attempt")
        job = it.comes_to("cut-off", "Completed")
        assert it.starts() == {first: 1, it.run_key(job): 1}
        assert it.endings("cut-off") == ["Failed", "Completed"]
        assert it.numbers("cut-off") == list(range(150))
