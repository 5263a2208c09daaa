"""The program as a process: pipes, Ctrl-C, and how fast it starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.sdk.served import Served, eventually

from ultramarine.cli.command import INTERRUPTED, OK

PROGRAM = (sys.executable, "-c", "from ultramarine.cli.app import main; main()")
ROUNDS = 9


def environ(server: Served) -> dict[str, str]:
    return os.environ | {"ULTRAMARINE_URL": server.url, "ULTRAMARINE_TOKEN": server.token}


def test_ctrl_c_ends_the_following_and_not_the_job(server: Served, tmp_path: Path):
    name = server.workspace().jobs.create(
        {"command": "echo begun; sleep 600", "environment": "minimal", "compute": "local"}
    )["name"]
    words = [*PROGRAM, "job", "stream", "-n", name]
    um = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ(server))
    assert um.stdout is not None
    assert um.stdout.readline() == "begun\n"
    um.send_signal(signal.SIGINT)
    _, err = um.communicate(timeout=20)
    assert um.returncode == INTERRUPTED
    assert f"Job {name} goes on." in err
    assert f"um job cancel -n {name}" in err
    assert "Traceback" not in err
    jobs = server.workspace().jobs
    assert jobs.get(name)["status"] == "Running"
    jobs.cancel(name)
    eventually(lambda: jobs.get(name)["status"] == "Canceled", words="it is canceled")


def test_a_reader_that_has_seen_enough_is_no_error(server: Served):
    um = subprocess.Popen(
        [*PROGRAM, "job", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ(server)
    )
    assert um.stdout is not None
    um.stdout.close()
    assert um.stderr is not None
    with um.stderr as stderr:
        assert stderr.read() == b""
    um.wait(timeout=20)


def test_the_command_starts_fast(server: Served):
    """Version within 5 times, a list within 12 times of an empty Python, each at its best of some rounds."""
    best = {"nothing": 9.0, "version": 9.0, "list": 9.0}
    commands = {
        "nothing": (sys.executable, "-c", "pass"),
        "version": (*PROGRAM, "--version"),
        "list": (*PROGRAM, "job", "list"),
    }
    for _ in range(ROUNDS):
        for name, words in commands.items():
            begin = time.perf_counter()
            code = subprocess.run(words, stdout=subprocess.DEVNULL, env=environ(server)).returncode
            best[name] = min(best[name], time.perf_counter() - begin)
            assert code == OK
    assert best["version"] <= 5 * best["nothing"]
    assert best["list"] <= 12 * best["nothing"]


def test_reading_imports_nothing_heavy(server: Served):
    list_jobs = "from ultramarine.cli.dispatch import run; run(['job', 'list'])"
    code = f"import sys; {list_jobs}; print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ(server), check=True)
    loaded = set(ran.stderr.split())
    assert "ultramarine.sdk.jobs" in loaded
    assert loaded & {"pydantic", "rich", "yaml", "httpx", "typer", "asyncio", "pathspec", "jmespath"} == set()
