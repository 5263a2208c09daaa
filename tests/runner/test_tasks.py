"""What a task does from its first process to its last log byte."""

from tests.runner.conftest import World, entry


def test_a_task_runs_and_every_line_of_it_is_shipped_once_and_in_order(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "for i in $(seq 1 1000); do echo line $i; done")
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], ended["code"], ended["ranks"]) == ("completed", 0, {"0": {"code": 0, "signal": None}})
    assert world.control.log("e1-j1-1").splitlines() == [f"line {i}" for i in range(1, 1001)]


def test_many_short_tasks_at_once_each_end_with_their_own_log(world: World):
    token = world.runner()
    keys = [f"e1-j{number}-1" for number in range(60)]
    world.control.want(token, {key: entry("echo $ULTRAMARINE_RUN_KEY; umask") for key in keys})
    assert {world.control.ended(key)["cause"] for key in keys} == {"completed"}
    assert [world.control.log(key) for key in keys] == [f"{key}\n0022\n" for key in keys]
    world.control.want(token, dict.fromkeys(keys))
    world.control.wait(lambda: world.control.reported[token]["runs"] == {}, words="all are forgotten")


def test_an_order_that_cannot_be_read_is_reported_and_harms_no_other(world: World):
    token = world.runner()
    orders = {"e1-bad-1": {"phase": "dance"}, "e1-bad-2": {"phase": "go"}, "../e1-bad-3": entry("true")}
    world.control.want(token, {**orders, "e1-j1-1": entry("echo fine")})
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    assert "dance" in world.control.ended("e1-bad-1")["words"]
    assert world.control.ended("e1-bad-2")["cause"] == "input"
    world.control.want(token, {"e1-bad-1": None})
    world.control.wait(lambda: world.control.run("e1-bad-1") == {}, words="it is forgotten")


def test_a_task_that_fails_is_reported_with_its_code_its_rank_and_the_tail_of_its_log(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "echo what went wrong >&2; exit 3")
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], ended["code"], ended["rank"]) == ("exited", 3, 0)
    assert ended["words"] == "Rank 0 exited with code 3."
    assert ended["tail"] == "what went wrong\n"
