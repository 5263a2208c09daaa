"""Whole installations whose store is a real PostgreSQL: it dies and comes back, and so do the servers that share it."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.postgresql import PostgreSQL, postgresql

from ultramarine.domain.database import without_password
from ultramarine.domain.errors import UltramarineError, Unavailable

from .installation import (
    UM,
    Installation,
    command_line,
    end,
    environment_of,
    free_ports,
    installed,
    is_alive,
    leftovers,
    processes,
    until,
)
from .test_backup import alive_attempts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
HERE = Path(__file__).parent
LEASE_S, MARGIN_S = 6, 2
AWAY_S = 15.0  #: longer than a server leads without its database
LINES = {"running": 900, "logging": 250}  #: of jobs; who logs metrics stands still while it is away


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql(free_ports()) as made:
        yield made


def is_in(database: str) -> dict[str, str]:
    """What an operator sets. The programs of PostgreSQL are on the path of who makes backups."""
    return {"ULTRAMARINE_DATABASE_URL": database}


@pytest.fixture(scope="module")
def it(server: PostgreSQL, cache: Path) -> Iterator[Installation]:
    """Its password is where PostgreSQL's own programs look for it, and only its first start says where the store is."""
    with installed(cache, PGPASSWORD=server.password, PATH=f"{server.programs}:{os.environ['PATH']}") as made:
        made.port = free_ports()
        store = without_password(server.new_database())
        first = made.um("up", "-d", "--port", str(made.port), "--database", store)
        assert first.returncode == 0, first.stderr
        assert "stands by" not in first.stderr
        made.up()
        made.pid("mlflow", within_s=300)
        made.cluster(nodes=3)
        yield made


def test_a_job_runs_its_metrics_and_a_model_are_kept_and_nothing_is_in_a_file(it: Installation):
    it.count("first", 20, metric_each=5)  # it reads its metrics back at its end
    there = it.workspace
    there.models.create_or_update({"name": "factor", "type": "custom_model", "path": "model"}, folder=HERE)
    assert it.comes_to("first", "Completed")["attempt"] == 1
    assert [model["name"] for model in there.models.list()] == ["factor"]
    assert not list(it.home.rglob("*.db"))


def test_while_the_database_is_away_that_is_said_and_what_runs_goes_on(it: Installation, server: PostgreSQL):
    it.count("running", LINES["running"])
    it.count("logging", LINES["logging"], metric_each=25)
    for name in LINES:
        it.comes_to(name, "Running")
    server.kill()
    away_at = time.monotonic()
    try:
        is_said(it, server)
        time.sleep(max(0.0, away_at + AWAY_S - time.monotonic()))  # not for anything: so long it is away
        is_said(it, server)
    finally:
        server.start()
    it.submit("after", "true")
    assert it.comes_to("after", "Completed")["attempt"] == 1
    for name, lines in LINES.items():
        assert it.comes_to(name, "Completed", within_s=90)["attempt"] == 1
        assert it.log(name, 1) == "".join(f"line {number}\n" for number in range(lines))
        assert it.numbers(name) == list(range(lines))
    assert [model["name"] for model in it.workspace.models.list()] == ["factor"]


def is_said(it: Installation, server: PostgreSQL) -> None:
    """What, why, what next, to who asks by the client and by the command; and no password."""
    with pytest.raises(Unavailable, match=rf"The database postgresql://um@127\.0\.0\.1:{server.port}/\w+ does not"):
        it.workspace.jobs.get("running")
    variables = {**it.environment, "ULTRAMARINE_HOME": str(it.home)}
    said = subprocess.run([str(UM), "job", "list"], env=variables, capture_output=True, text=True)
    assert said.returncode == 5
    assert "Connection refused" in said.stderr
    assert "next: Nothing that was accepted is lost" in said.stderr
    assert server.password not in said.stderr + said.stdout


def test_its_password_is_in_no_command_line_no_log_and_no_job(it: Installation, server: PostgreSQL):
    it.submit("looking", "env; sleep 300")
    node = it.comes_to("looking", "Running")["nodes"][0]
    assert not [pid for pid in processes() if server.password in command_line(pid)]
    assert server.password not in "".join(f"{environment_of(pid)}" for pid in it.runner(node))
    until(lambda: "ULTRAMARINE_RUN_KEY" in it.log("looking", 1), "it has shown its environment")
    assert server.password not in it.log("looking", 1)
    it.workspace.jobs.cancel("looking")
    texts = [path.read_bytes() for path in it.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(texts) > 20
    assert not [text for text in texts if server.password.encode() in text]
    other = it.um("up", "-d", "--port", str(it.port), "--database", "postgresql://um@elsewhere/um")
    assert other.returncode == 1
    assert f"already runs in {it.home}, with --database postgresql://um@127.0.0.1:{server.port}/" in other.stderr


def test_a_backup_comes_back_in_another_home_and_database(it: Installation, server: PostgreSQL, cache: Path):
    file = it.home.with_name("backup.tar")
    made = it.um("backup", str(file))
    assert made.returncode == 0, made.stderr
    settings = {**is_in(server.new_database()), "PATH": it.settings["PATH"]}
    with installed(cache, **settings) as other:
        done = other.um("restore", str(file), "--master-key", str(it.home / "master.key"))
        assert done.returncode == 0, done.stderr
        other.port = free_ports()
        other.up()
        assert other.epoch != it.epoch
        assert other.job("first")["status"] == "Completed"
        assert other.log("first", 1) == it.log("first", 1)
        other.count("new", 20, metric_each=5)
        other.comes_to("new", "Completed")
        assert [model["name"] for model in other.workspace.models.list()] == ["factor"]


class Pair:
    """Two servers of one database and one folder of files; each machine here is a home."""

    def __init__(self, first: Installation, second: Installation) -> None:
        self.first, self.second = first, second
        self.flag = first.home.with_name("flag")

    def start(self) -> None:
        one, two = self.first, self.second
        one.port = free_ports()
        one.up()
        two.home.mkdir(mode=0o700)
        (two.home / "mlflow").mkdir()
        for shared in ("files", "mlflow/artifacts"):
            (two.home / shared).symlink_to(one.home / shared)
        shutil.copy(one.home / "master.key", two.home)
        two.port = free_ports()
        self.stands_by(two)

    def stands_by(self, it: Installation) -> None:
        up = it.um("up", "-d", "--port", str(it.port))
        assert up.returncode == 0, f"{up.stderr}\n{it.told()}"
        assert "This server stands by" in up.stderr

    def is_alone(self, leader: Installation, other: Installation, job: str) -> bool:
        """`leader` leads and does the job. Never do two, and never does it live twice."""
        alive = alive_attempts(leader, job)
        assert len(alive) <= 1, f"two attempts live: {alive}"
        assert not (answers(leader) and answers(other)), "two servers lead"
        return answers(leader)

    def goes_on(self, leader: Installation, other: Installation, job: dict[str, Any], *, attempt: int) -> None:
        key = f"{self.first.epoch}-{job['id']}-{attempt}"
        until(
            lambda: self.is_alone(leader, other, job["id"]) and alive_attempts(leader, job["id"]) == {key},
            f"attempt {attempt} lives\n{leader.told()}",
            seconds=90,
        )


def answers(it: Installation) -> bool:
    try:
        return bool(it.workspace.installation.status())
    except UltramarineError:
        return False


@pytest.fixture
def pair(server: PostgreSQL, cache: Path) -> Iterator[Pair]:
    settings = {
        **is_in(server.new_database()),
        "ULTRAMARINE_LEASE_S": str(LEASE_S),
        "ULTRAMARINE_LEASE_MARGIN_S": str(MARGIN_S),
    }
    with installed(cache, **settings) as first, installed(cache, **settings) as second:
        made = Pair(first, second)
        made.start()
        first.cluster()
        yield made


def test_a_leader_that_stands_still_or_dies_is_followed_and_does_no_harm_when_it_wakes(pair: Pair):
    one, two = pair.first, pair.second
    words = f"echo $ULTRAMARINE_RUN_KEY >> {one.ledger}; until [ -e {pair.flag} ]; do sleep 0.1; done"
    one.submit("long", words)
    job = one.comes_to("long", "Running")
    stopped = one.pid("control")
    os.kill(stopped, signal.SIGSTOP)
    until(lambda: answers(two), "the other one leads", seconds=60)
    os.kill(stopped, signal.SIGCONT)
    pair.goes_on(two, one, job, attempt=2)
    assert not answers(one)
    machine = [pid for pid, _ in leftovers(two.home)]
    for pid in machine:
        end(pid)
    until(lambda: not any(map(is_alive, machine)), "its machine is gone")
    pair.goes_on(one, two, job, attempt=3)
    pair.flag.touch()
    assert one.comes_to("long", "Completed")["attempt"] == 3
    assert set(one.starts().values()) == {1}, one.starts()
    assert len(one.starts()) == 3
    assert one.endings("long") == ["Failed", "Failed", "Completed"]
    pair.stands_by(two)  # its machine is there again
    until(lambda: not os.listdir(two.home / "nodes"), "what it held of before is given back")
