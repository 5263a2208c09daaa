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
#: A shell has what it starts in the background ignore it, and so would all that these tests start there.
HEEDING_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
ROUNDS_MAX = 40


def environ(server: Served) -> dict[str, str]:
    return os.environ | {"ULTRAMARINE_URL": server.url, "ULTRAMARINE_TOKEN": server.token}


def test_ctrl_c_ends_the_following_and_not_the_job(server: Served, tmp_path: Path):
    name = server.workspace().jobs.create(
        {"command": "echo begun; sleep 600", "environment": "minimal", "compute": "local"}
    )["name"]
    words = [sys.executable, "-c", f"{HEEDING_CTRL_C}; {PROGRAM[-1]}", "job", "stream", "-n", name]
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
    eventually(lambda: jobs.get(name)["status"] == "Running", words="it goes on")
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
    """Version within 5 times, a list within 12 times of an empty Python, each at its best of so many rounds."""
    nothing = (sys.executable, "-c", "pass")
    commands = {"nothing": nothing, "version": (*PROGRAM, "--version"), "list": (*PROGRAM, "job", "list")}
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(ROUNDS_MAX):
        for name, words in commands.items():
            begin = time.perf_counter()
            code = subprocess.run(words, stdout=subprocess.DEVNULL, env=environ(server)).returncode
            best[name] = min(best[name], time.perf_counter() - begin)
            assert code == OK
        if best["version"] <= 5 * best["nothing"] and best["list"] <= 12 * best["nothing"]:
            return
    raise AssertionError(f"seconds, at best: {best}")


def test_reading_imports_nothing_heavy(server: Served):
    list_jobs = "from ultramarine.cli.dispatch import run; run(['job', 'list'])"
    code = f"import sys; {list_jobs}; print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ(server), check=True)
    loaded = set(ran.stderr.split())
    assert "ultramarine.sdk.jobs" in loaded
    assert loaded & {"pydantic", "rich", "yaml", "httpx", "typer", "asyncio", "pathspec", "jmespath"} == set()


def test_the_client_needs_nothing_of_the_server():
    code = """
import sys
from ultramarine.cli.dispatch import load
from ultramarine.cli.groups import GROUPS
from ultramarine.sdk import preparation
for module, _ in [*GROUPS.values(), ("installation", "")]:
    load(module)
print(*{name.partition(".")[0] for name in sys.modules})
print(*(name for name in sys.modules if name.startswith("ultramarine.")))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages, ours = (set(line.split()) for line in ran.stdout.splitlines())
    assert packages & {"sqlalchemy", "fastapi", "starlette", "uvicorn", "alembic", "cryptography", "psutil"} == set()
    assert {name.split(".")[1] for name in ours} == {"cli", "sdk", "domain", "supervision"}
