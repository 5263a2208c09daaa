"""On a kernel with control groups of version 2 alone, as most machines have now, though this one may not.

The kernel is User Mode Linux: a program that runs on the files of this machine, which it may not write.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

KERNEL = shutil.which("linux.uml")
ROOT = Path(__file__).parents[2]
LIMITS = "tests/runner/test_limits.py::test_"
#: What holds a runner's limits there, from end to end.
TESTS = (
    "tests/runner/test_mechanism.py",
    f"{LIMITS}a_run_that_takes_too_much_memory_ends_and_its_neighbour_goes_on[auto]",
    f"{LIMITS}a_fork_bomb_ends_at_the_limit_of_processes_and_its_neighbour_goes_on[auto]",
    f"{LIMITS}the_group_of_a_run_is_gone_with_it_and_hello_says_how_limits_are_held",
    f"{LIMITS}when_both_halves_are_killed_the_sweep_takes_the_groups_and_what_has_hidden_in_them",
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(KERNEL is None, reason="the Debian package user-mode-linux is not installed"),
]


@pytest.fixture(scope="module")
def said() -> str:
    """All that such a machine says from its start until it is off."""
    command = [str(KERNEL), "rootfstype=hostfs", "rootflags=/", "ro", f"init={ROOT}/tests/runner/version_2.sh"]
    machine = ["mem=1500M", "con=null", "con0=fd:0,fd:1", "quiet"]
    told = [f"ROOT={ROOT}", f"PYTHON={sys.executable}", f"TESTS={','.join(TESTS)}"]
    environment = {**os.environ, "TMPDIR": "/dev/shm"}  # the machine's memory is a file there
    done = subprocess.run(
        command + machine + told,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=360,
        check=False,
    )
    return done.stdout


@pytest.fixture(scope="module")
def found(said: str) -> Mapping[str, Mapping[str, Any]]:
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return {each["at"]: each for each in lines}


@pytest.mark.parametrize(
    ("at", "own", "groups"),
    [
        ("root", "/", "/sys/fs/cgroup"),
        ("delegated", "/delegated/ultramarine.server", "/sys/fs/cgroup/delegated"),
        ("again", "/delegated/ultramarine.server", "/sys/fs/cgroup/delegated"),
        ("subgroup", "/split/main", "/sys/fs/cgroup/split"),
        ("container", "/ultramarine.server", "/sys/fs/cgroup"),
        ("user", "/given/ultramarine.server", "/sys/fs/cgroup/given"),
    ],
)
def test_who_was_given_a_group_holds_limits_in_groups_below_it(
    found: Mapping[str, Mapping[str, Any]], said: str, at: str, own: str, groups: str
):
    assert at in found, said
    seen = found[at]
    assert (seen["kind"], seen["own"], seen["in"]) == ("cgroup-v2", own, [groups])
    assert (seen["code"], seen["kills"]) == (-9, 1), "a process that takes too much is killed by the kernel"


def test_a_group_that_was_given_to_nobody_is_left_alone(found: Mapping[str, Mapping[str, Any]]):
    assert found["plain"] == {"at": "plain", "kind": "watch", "own": "/plain", "code": None, "kills": None, "in": []}


def test_a_runner_in_a_service_of_systemd_holds_its_limits(said: str):
    last = next((line for line in reversed(said.splitlines()) if " in " in line and "passed" in line), said)
    assert last.startswith("13 passed in "), said
