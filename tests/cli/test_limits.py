"""What a job uses, what it may use, and how that is held, as a user sees it; jobs run on real runners."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Said, Um

from ultramarine.cli.command import FAILED, OK

JOB = """\
type: command
command: sleep 1000
environment: azureml:minimal@latest
compute: azureml:local
"""
HOG = "x = [bytearray(1 << 20) for _ in range(3000)]; import time; time.sleep(1000)"


@pytest.fixture
def job_file(signed_in: Path) -> str:
    (signed_in / "job.yml").write_text(JOB)
    return "job.yml"


def until(ask: Callable[[], Said], is_so: Callable[[str], bool]) -> str:
    deadline = time.monotonic() + 30
    while not is_so(out := ask().out):
        assert time.monotonic() < deadline, out
    return out


def test_a_job_shows_what_its_ranks_use_now_and_at_most(um: Um, job_file: str):
    busy = "command=while :; do :; done"
    assert um("job", "create", "-f", job_file, "-n", "busy", "--set", busy).code == OK
    shown = until(lambda: um("job", "show", "-n", "busy", "-o", "table"), lambda out: "rank 0" in out)
    assert "% of a CPU (" in shown
    use = json.loads(um("job", "show", "-n", "busy", "--query", "usage").out)
    assert set(use) == {"0"}
    assert use["0"]["peak"]["memory_bytes"] >= use["0"]["now"]["memory_bytes"] > 0
    assert um("job", "cancel", "-n", "busy").code == OK


def test_a_job_that_takes_more_memory_than_its_size_has_fails_with_how_much_that_was(um: Um, job_file: str):
    hog = f'command=python -c "{HOG}"'
    assert um("job", "create", "-f", job_file, "-n", "hog", "--set", hog, "--stream").code == FAILED
    failed = json.loads(um("job", "explain", "hog", "--query", "failed").out)
    assert failed["cause"] == "out_of_memory"
    assert "GiB of the 2.0 GiB of memory of a job on local (as size cpu-1). Ask for more" in failed["words"]


def test_nodes_and_their_compute_say_how_limits_are_held(um: Um, job_file: str):
    assert um("job", "create", "-f", job_file, "-n", "quick", "--set", "command=echo on", "--stream").code == OK
    [node] = json.loads(um("compute", "list-nodes", "-n", "local", "-o", "json").out)
    assert node["limits"] in ("cgroup-v2", "cgroup-v1", "watch")
    assert json.loads(um("compute", "show", "-n", "local", "--query", "limits").out) == [node["limits"]]
