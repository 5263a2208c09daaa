"""What happens while the control plane is away, answers twice, or does not want to hear of us."""

import os
import signal

import pytest
from tests.runner.conftest import World

from ultramarine_runner import machine, trees

LINES = 5000
COUNT = f"for i in $(seq 1 {LINES}); do echo line $i; if [ $((i % 50)) = 0 ]; then sleep 0.02; fi; done"


def test_5000_lines_are_complete_and_in_order_though_the_control_plane_is_restarted_in_the_middle(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", COUNT)
    world.control.wait(lambda: "line 500\n" in world.control.log("e1-j1-1"))
    world.control.stop()
    spool = world.folder / "e1-a-1-0" / "runs" / "e1-j1-1" / "logs" / "0" / "std_log.txt"
    world.control.wait(lambda: "line 2500\n" in spool.read_text(), words="it goes on meanwhile")
    assert "line 2500\n" not in world.control.log("e1-j1-1")
    world.control.start()
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    assert world.control.log("e1-j1-1").splitlines() == [f"line {i}" for i in range(1, LINES + 1)]


def test_5000_lines_are_complete_and_in_order_though_a_third_of_all_answers_is_lost(world: World):
    token = world.runner()
    world.control.faults.drop = 0.3
    world.go(token, "e1-j1-1", COUNT)
    assert world.control.ended("e1-j1-1", within_s=30)["cause"] == "completed"
    world.control.faults.drop = 0.0
    assert world.control.log("e1-j1-1").splitlines() == [f"line {i}" for i in range(1, LINES + 1)]
    assert len(list((world.folder / "e1-a-1-0" / "runs").iterdir())) == 1


def test_a_task_ends_when_its_lease_is_over_and_a_service_goes_on(world: World):
    world.control.lease_s = 1.0
    world.control.beat_s = 0.2
    token = world.runner()
    world.go(token, "e1-task-1", "echo $$; exec sleep 1000")
    world.go(token, "e1-service-1", "echo $$; exec sleep 1000", mode="service")
    pids = [
        int(world.control.wait(lambda key=key: world.control.log(key), words="its pid"))
        for key in ("e1-task-1", "e1-service-1")
    ]
    world.control.stop()
    world.control.wait(lambda: not trees.is_alive(pids[0]), within_s=10, words="the task ends")
    assert trees.is_alive(pids[1])
    world.control.start()
    assert world.control.ended("e1-task-1")["cause"] == "lease"
    assert world.control.run("e1-service-1")["phase"] == "running"


def test_a_task_outlives_an_outage_that_is_shorter_than_its_lease(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "echo on; sleep 1; echo off")
    world.control.wait(lambda: world.control.log("e1-j1-1"))
    world.control.stop()
    record = world.folder / "e1-a-1-0" / "runs" / "e1-j1-1" / "ended.json"
    world.control.wait(record.exists, words="it ends unheard")
    world.control.start()
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    assert world.control.log("e1-j1-1") == "on\noff\n"


def test_a_runner_whose_allocation_has_ended_ends_everything_and_exits(world: World):
    for status, allocation in ((410, "e1-a-1"), (401, "e1-a-2")):
        token = world.runner(allocation)
        key = f"{allocation}-j"
        world.go(token, key, "trap '' TERM; echo $$; while :; do sleep 1; done")
        pid = int(world.control.wait(lambda key=key: world.control.log(key)))
        world.control.faults.status = status
        assert world.runners[-1].wait(10) == 0
        assert not trees.is_alive(pid)
        world.control.faults.status = None
        assert world.leftovers() == []


def test_a_second_runner_of_the_same_node_is_refused_and_starts_nothing_and_ends_nothing_of_the_first(world: World):
    token = world.runner("e1-a-1")
    world.go(token, "e1-j1-1", "echo $$; exec sleep 1000")
    pid = int(world.control.wait(lambda: world.control.log("e1-j1-1"), words="its pid"))
    other = world.folder / "other"
    world.make_folder("e1-a-1", rank=9).rename(other)
    (other / "config.json").write_text((other / "config.json").read_text().replace('"rank": 9', '"rank": 0'))
    assert world.start(other, "e1-a-1").wait(20) == 4
    assert "Another runner has this node." in (other / "runner.log").read_text()
    assert trees.is_alive(pid)


def test_the_join_secret_is_gone_from_the_folder_once_hello_was_accepted(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "true")
    world.control.ended("e1-j1-1")
    assert "secret" not in (world.folder / "e1-a-1-0" / "config.json").read_text()


def test_a_fenced_run_is_ended_without_grace(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "trap '' TERM; echo on; while :; do sleep 1; done", grace_s=600)
    world.control.wait(lambda: world.control.log("e1-j1-1"))
    world.control.fenced = ["e1-j1-1"]
    assert world.control.ended("e1-j1-1", within_s=10)["cause"] == "stopped"


def test_a_runner_that_is_asked_to_end_ends_its_runs_reports_and_exits(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "trap 'echo bye; exit 0' TERM; echo on; while :; do sleep 0.05; done")
    world.control.wait(lambda: world.control.log("e1-j1-1"))
    os.kill(world.runners[0].pid, signal.SIGTERM)
    assert world.runners[0].wait(20) == 0
    assert world.control.ended("e1-j1-1")["cause"] == "stopped"
    assert world.control.log("e1-j1-1").endswith("bye\n")


def test_a_run_that_is_taken_away_is_ended_and_its_folder_deleted(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "mkdir -p deep/er; chmod 0 deep; echo on; exec sleep 1000")
    world.control.wait(lambda: world.control.log("e1-j1-1"))
    world.control.want(token, {"e1-j1-1": None})
    world.control.wait(lambda: not list((world.folder / "e1-a-1-0" / "runs").iterdir()), words="its folder is deleted")
    world.control.wait(lambda: world.control.run("e1-j1-1") == {}, words="it is reported no more")


def test_a_run_whose_logs_nobody_wants_ends_all_the_same(world: World):
    token = world.runner()
    world.control.refused_logs.add("e1-j1-1")
    world.go(token, "e1-j1-1", "echo hello")
    assert world.control.ended("e1-j1-1", within_s=5)["cause"] == "completed"


def test_a_control_plane_whose_disk_is_full_gets_every_byte_once_it_has_room_again(world: World):
    token = world.runner()
    world.control.faults.no_room = True
    world.go(token, "e1-j1-1", "for i in $(seq 1 1000); do echo line $i; done; echo made > outputs/x")
    world.control.phase("e1-j1-1", "finalizing")
    world.control.wait(lambda: world.control.faults.refused >= 3, words="it is asked again and again")
    assert world.control.log("e1-j1-1") == ""
    world.control.faults.no_room = False
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], list(ended["outputs"])) == ("completed", ["default"])
    assert world.control.log("e1-j1-1").splitlines() == [f"line {i}" for i in range(1, 1001)]


@pytest.mark.parametrize("with_its_ranks", [False, True], ids=["both halves alone", "with the ranks"])
def test_a_runner_that_was_stopped_past_its_lease_ends_its_tasks_before_it_hears_that_it_is_renewed(
    world: World, with_its_ranks: bool
):
    world.control.lease_s, world.control.beat_s = 1.0, 0.1
    token = world.runner()
    marks = world.folder / "marks"
    world.go(token, "e1-j1-1", f"echo $$; while :; do echo 1 >> {marks}; sleep 0.01; done")
    world.go(token, "e1-service-1", "echo $$; exec sleep 1000", mode="service")
    task, service = (
        int(world.control.wait(lambda key=key: world.control.log(key), words="its pid"))
        for key in ("e1-j1-1", "e1-service-1")
    )
    halves = [world.runners[0].pid, world.keeper()]
    stopped = [*halves, *([task] if with_its_ranks else [])]
    trees.send(stopped, signal.SIGSTOP)
    over = machine.boot_s() + 2 * world.control.lease_s
    world.control.wait(lambda: machine.boot_s() > over, words="its lease is over")
    # The next attempt begins elsewhere; the first node is continued while that one is at work.
    other = world.runner("e1-a-2")
    world.go(other, "e1-j1-2", "echo on; exec sleep 1000")
    written = marks.stat().st_size if with_its_ranks else None
    trees.send(halves, signal.SIGCONT)
    world.control.wait(lambda: not trees.is_alive(task), within_s=5, words="the first attempt has ended")
    assert written is None or marks.stat().st_size == written, "it has not done anything since"
    assert world.control.ended("e1-j1-1")["cause"] == "lease"
    assert trees.is_alive(service)
    world.control.phase("e1-j1-2", "running")
