"""A run that is over a limit ends, with the limit's name; its neighbours go on."""

import os
import re
import signal
from pathlib import Path

import pytest
from tests.runner.conftest import World

from ultramarine_runner import cgroups, trees
from ultramarine_runner.mechanism import WATCH

NONE = {"timeout_s": None, "memory_bytes": None, "log_bytes": None}
MECHANISMS = ["auto", "watch"]
HOG = "x = [bytearray(1 << 20) for _ in range(120)]; print('have it', flush=True); import time; time.sleep(1000)"


def test_a_run_that_takes_too_long_ends_with_its_time_limit_in_words(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "exec sleep 1000", limits={**NONE, "timeout_s": 0.3})
    ended = world.control.ended("e1-j1-1", within_s=5)
    assert ended["cause"] == "timeout"
    assert ended["words"].startswith("It ran for 0.3 s")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_run_that_takes_too_much_memory_ends_and_its_neighbour_goes_on(world: World, mechanism: str):
    token = world.runner(limits=mechanism)
    world.go(token, "e1-j2-1", "exec sleep 1000")
    world.go(
        token, "e1-j1-1", f'{{{{python}}}} -c "{HOG}"', limits={**NONE, "memory_bytes": 60 << 20, "of": "size cpu-1"}
    )
    ended = world.control.ended("e1-j1-1")
    assert ended["cause"] == "out_of_memory"
    assert re.search(r"used \d+ MiB of the 60 MiB of memory of size cpu-1\. Ask for a larger size", ended["words"])
    assert world.control.run("e1-j2-1")["phase"] == "running"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_run_that_lives_on_after_its_child_took_too_much_memory_is_ended_for_that(world: World, mechanism: str):
    token = world.runner(limits=mechanism)
    world.go(token, "e1-j1-1", f'{{{{python}}}} -c "{HOG}"; sleep 1000', limits={**NONE, "memory_bytes": 60 << 20})
    assert world.control.ended("e1-j1-1")["cause"] == "out_of_memory"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_fork_bomb_ends_at_the_limit_of_processes_and_its_neighbour_goes_on(world: World, mechanism: str):
    token = world.runner(limits=mechanism)
    world.go(token, "e1-j2-1", "exec sleep 1000")
    bomb = "trap '' TERM; f() { sleep 1000 & sleep 0.01; f; }; f"
    world.go(token, "e1-j1-1", bomb, limits={**NONE, "processes": 40})
    ended = world.control.ended("e1-j1-1")
    assert ended["cause"] == "processes"
    assert "of the 40 that a run may have" in ended["words"]
    assert world.control.run("e1-j2-1")["phase"] == "running"


def test_a_run_that_writes_too_much_ends_with_how_much_that_was(world: World):
    token = world.runner()
    world.go(
        token, "e1-j1-1", "head -c 9000000 /dev/zero > big; exec sleep 1000", limits={**NONE, "disk_bytes": 4 << 20}
    )
    ended = world.control.ended("e1-j1-1")
    assert ended["cause"] == "disk_full"
    assert "It used 9 MiB of the 4 MiB of disk" in ended["words"]


@pytest.mark.parametrize(
    "command",
    ["yes", "tr '\\0' x < /dev/zero", "truncate -s 100G /dev/stdout; exec sleep 1000"],
    ids=["endless lines", "an endless line", "a log of 100 GB"],
)
def test_a_log_that_does_not_end_is_cut_with_a_last_line_that_says_so(world: World, command: str):
    token = world.runner()
    world.go(token, "e1-j1-1", command, limits={**NONE, "log_bytes": 1_000_000})
    ended = world.control.ended("e1-j1-1")
    assert ended["cause"] == "log_limit"
    assert "1000000 bytes" in ended["words"]
    log = world.control.log("e1-j1-1")
    assert log[1_000_000:] == "\nultramarine: log cut at 1000000 bytes, which is its limit.\n"


def test_the_group_of_a_run_is_gone_with_it_and_hello_says_how_limits_are_held(world: World):
    token = world.runner()
    kind = world.control.hellos["e1-a-1", 0]["machine"]["limits"]
    assert kind == cgroups.find("e1-b-1", 0).mechanism.kind
    world.go(token, "e1-j1-1", "cat /proc/self/cgroup")
    world.control.ended("e1-j1-1")
    assert ("ultramarine:e1-a-1:0:e1-j1-1" in world.control.log("e1-j1-1")) == (kind != WATCH)
    world.control.wait(lambda: cgroups.sweep("e1-a-1") == [], words="its groups are gone")


def test_when_both_halves_are_killed_the_sweep_takes_the_groups_and_what_has_hidden_in_them(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "setsid env -i sleep 1000.25 & exec sleep 1000")
    hidden = world.control.wait(
        lambda: [pid for pid in trees.descendants(world.runners[0].pid) if _command(pid) == b"sleep\x001000.25\0"]
    )
    keeper = world.keeper()
    for pid in (world.runners[0].pid, keeper):
        os.kill(pid, signal.SIGKILL)
    trees.sweep("e1-a-1")
    swept = cgroups.sweep("e1-a-1")
    has_groups = world.control.hellos["e1-a-1", 0]["machine"]["limits"] != WATCH
    assert bool(swept) == has_groups
    assert len(hidden) == 1
    if not has_groups:
        os.kill(hidden[0], signal.SIGKILL)
    world.control.wait(lambda: not trees.is_alive(hidden[0]), words="it has ended too")


def test_a_fork_bomb_is_ended_whole(world: World):
    token = world.runner()
    # 155 processes that start each other and ignore TERM, still at it when the stop comes.
    grow = "f() { [ $1 = 0 ] && sleep 1000; for i in 1 2 3 4 5; do f $(($1 - 1)) & done; wait; }"
    bomb = f"trap '' TERM; {grow}; echo on; f 3"
    world.go(token, "e1-j1-1", bomb)
    world.control.wait(lambda: world.control.log("e1-j1-1"))
    world.control.want(token, {"e1-j1-1": {"phase": "stop", "grace_s": 0}})
    assert world.control.ended("e1-j1-1", within_s=10)["cause"] == "stopped"


def test_what_a_run_uses_is_sampled(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "while :; do :; done")
    samples = world.control.wait(
        lambda: samples if (samples := world.control.run("e1-j1-1").get("samples", {})).get("cpu_s", 0) > 0.1 else None
    )
    assert samples["memory_bytes"] > 1 << 16
    assert samples["processes"] == 1


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
