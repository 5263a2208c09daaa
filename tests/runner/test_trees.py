"""Nothing outlives its owner."""

import os
import signal
from pathlib import Path

from tests.runner.conftest import World

from ultramarine_runner import cgroups, trees

#: A rank that ignores TERM, with a child that does too, and a grandchild in a session of its own.
STUBBORN = """
trap '' TERM
setsid bash -c 'trap "" TERM; echo apart $$; while :; do sleep 1; done' &
bash -c 'trap "" TERM; echo child $$; while :; do sleep 1; done' &
echo rank $$
while :; do sleep 1; done
"""


def three_pids(world: World, key: str) -> list[int]:
    """The processes that STUBBORN has named."""
    world.control.wait(lambda: len(world.control.log(key).split()) == 6, words="three processes")
    return [int(word) for word in world.control.log(key).split() if word.isdigit()]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if trees.is_alive(pid)]


def record(world: World, key: str) -> Path:
    return world.folder / "e1-a-1-0" / "runs" / key / "ended.json"


def test_a_stop_ends_a_tree_that_ignores_term_and_what_has_left_its_session(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", STUBBORN, grace_s=0.3)
    pids = three_pids(world, "e1-j1-1")
    assert alive(pids) == pids
    world.control.want(token, {"e1-j1-1": {"phase": "stop", "grace_s": 0.3}})
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], ended["signal"]) == ("stopped", "SIGKILL")
    assert alive(pids) == []


def test_a_stop_lets_a_task_end_itself_within_its_grace(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "trap 'echo saved; exit 0' TERM; echo on; while :; do sleep 0.05; done", grace_s=15)
    world.control.wait(lambda: "on" in world.control.log("e1-j1-1"))
    world.control.want(token, {"e1-j1-1": {"phase": "stop", "grace_s": 15}})
    ended = world.control.ended("e1-j1-1", within_s=10)
    assert (ended["cause"], ended["code"]) == ("stopped", 0)
    assert world.control.log("e1-j1-1").endswith("saved\n")


def test_what_a_task_leaves_behind_ends_with_it_by_its_variable_or_its_session(world: World):
    token = world.runner()
    world.go(token, "e1-j2-1", "echo $$; exec sleep 1000")
    neighbour = int(world.control.wait(lambda: world.control.log("e1-j2-1")))
    apart = "setsid sleep 1000 & echo $!"
    bare = "env -i /bin/sleep 1000 & echo $!"
    world.go(token, "e1-j1-1", f"{apart}; {bare}; sleep 0.2; exit 0")
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    assert alive([int(pid) for pid in world.control.log("e1-j1-1").split()]) == []
    assert alive(trees.children(world.keeper())) == [neighbour]


def test_what_hides_whose_it_is_ends_when_the_last_run_does(world: World):
    token = world.runner()
    world.go(token, "e1-j2-1", "echo on; exec sleep 1000")
    hide = "env -i setsid bash -c 'exec sleep 1000' & echo $!; sleep 0.2"
    world.go(token, "e1-j1-1", hide)
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    hidden = int(world.control.log("e1-j1-1"))
    world.control.want(token, {"e1-j2-1": {"phase": "stop"}})
    assert world.control.ended("e1-j2-1")["cause"] == "stopped"
    world.control.wait(lambda: not trees.is_alive(hidden), words="it is ended")


def test_when_the_link_is_killed_the_keeper_ends_the_trees_and_leaves_the_record(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", STUBBORN)
    pids = three_pids(world, "e1-j1-1")
    keeper = world.keeper()
    os.kill(world.runners[0].pid, signal.SIGKILL)
    world.control.wait(lambda: not trees.is_alive(keeper), within_s=10, words="keeper ends")
    assert alive(pids) == []
    assert '"cause": "runner"' in record(world, "e1-j1-1").read_text()


def test_when_the_keeper_is_killed_the_link_ends_the_trees_reports_and_exits(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", STUBBORN)
    pids = three_pids(world, "e1-j1-1")
    os.kill(world.keeper(), signal.SIGKILL)
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], alive(pids)) == ("runner", [])
    assert world.runners[0].wait(20) == 5
    assert '"cause": "runner"' in record(world, "e1-j1-1").read_text()


def test_when_both_are_killed_the_sweep_ends_whatever_carries_the_allocation(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", STUBBORN)
    pids = three_pids(world, "e1-j1-1")
    keeper = world.keeper()
    os.kill(world.runners[0].pid, signal.SIGSTOP)  # so that it cannot act before it is killed
    os.kill(keeper, signal.SIGKILL)
    os.kill(world.runners[0].pid, signal.SIGKILL)
    world.runners[0].wait(10)
    assert alive(pids), "else there is nothing to sweep"
    swept = trees.sweep("e1-a-1")
    assert set(swept) >= set(alive(pids))
    assert alive(pids) == []
    assert trees.sweep("e1-a-1") == []
    cgroups.sweep("e1-a-1")


def test_a_rank_that_fails_ends_the_other_ranks_of_its_node(world: World):
    token = world.runner()
    command = 'if [ "$RANK" = 1 ]; then exit 7; fi; sleep 1000'
    world.go(token, "e1-j1-1", command, processes_per_node=2, distribution="pytorch")
    ended = world.control.ended("e1-j1-1", within_s=10)
    assert (ended["cause"], ended["code"], ended["rank"]) == ("exited", 7, 1)
    assert ended["ranks"] == {"0": {"code": 143, "signal": "SIGTERM"}, "1": {"code": 7, "signal": None}}


def test_a_runner_does_not_start_again_in_the_folder_of_a_dead_one(world: World):
    world.runner()
    folder = world.folder / "e1-a-1-0"
    os.kill(world.runners[0].pid, signal.SIGKILL)
    assert world.start(folder, "e1-a-1").wait(20) == 2
    assert "A restarted runner is a new allocation" in (folder / "runner.log").read_text()
