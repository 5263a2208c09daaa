"""A run that is over a limit ends, with the limit's name; its neighbours go on."""

from tests.runner.conftest import World

NONE = {"timeout_s": None, "memory_bytes": None, "log_bytes": None}


def test_a_run_that_takes_too_long_ends_with_its_time_limit_in_words(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "exec sleep 1000", limits={**NONE, "timeout_s": 0.3})
    ended = world.control.ended("e1-j1-1", within_s=5)
    assert ended["cause"] == "timeout"
    assert ended["words"].startswith("It ran for 0.3 s")


def test_a_run_that_takes_too_much_memory_ends_and_its_neighbour_goes_on(world: World):
    token = world.runner()
    world.go(token, "e1-j2-1", "exec sleep 1000")
    hog = "x = [bytearray(1 << 20) for _ in range(120)]; print('have it', flush=True); import time; time.sleep(1000)"
    world.go(token, "e1-j1-1", f'{{{{python}}}} -c "{hog}"', limits={**NONE, "memory_bytes": 60 << 20})
    ended = world.control.ended("e1-j1-1")
    assert ended["cause"] == "out_of_memory"
    assert "its limit is 60 MiB" in ended["words"]
    assert world.control.run("e1-j2-1")["phase"] == "running"


def test_endless_output_ends_at_the_log_limit_and_no_more_than_that_is_shipped(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "yes", limits={**NONE, "log_bytes": 1_000_000})
    assert world.control.ended("e1-j1-1")["cause"] == "log_limit"
    assert len(world.control.log("e1-j1-1")) == 1_000_000


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
    assert samples["memory_bytes"] > 1 << 20
