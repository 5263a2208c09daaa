"""What a task does from its first process to its last log byte."""

from tests.runner.conftest import World


def test_a_task_runs_and_every_line_of_it_is_shipped_once_and_in_order(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "for i in $(seq 1 1000); do echo line $i; done")
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], ended["code"], ended["ranks"]) == ("completed", 0, {"0": {"code": 0, "signal": None}})
    assert world.control.log("e1-j1-1").splitlines() == [f"line {i}" for i in range(1, 1001)]


def test_a_task_that_fails_is_reported_with_its_code_its_rank_and_the_tail_of_its_log(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "echo what went wrong >&2; exit 3")
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], ended["code"], ended["rank"]) == ("exited", 3, 0)
    assert ended["words"] == "Rank 0 exited with code 3."
    assert ended["tail"] == "what went wrong\n"
