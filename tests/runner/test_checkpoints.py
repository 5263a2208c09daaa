"""The checkpoint folder of a run: what it begins with, when it is kept, what is left out."""

import json
import shutil
from typing import Any

import pytest
from tests.runner.conftest import World, entry

HERE = "cd $ULTRAMARINE_CHECKPOINT_DIR; "


def checkpoint(snapshot: str | None = None, every_s: float = 600) -> dict[str, Any]:
    return {"snapshot": snapshot, "every_s": every_s}


def kept(world: World, key: str) -> dict[str, bytes]:
    """The files of the newest checkpoint that was reported."""
    snapshot = world.control.run(key).get("checkpoint", {}).get("snapshot")
    if snapshot is None:
        return {}
    files = json.loads(world.control.blobs[snapshot])["files"]
    return {file["path"]: world.control.blobs[file["sha256"]] for file in files}


def own_log(world: World, key: str) -> str:
    return world.control.log(key, "node0", "preparation.txt")


def test_a_run_begins_with_an_empty_folder_and_what_it_leaves_there_is_kept(world: World):
    token = world.runner()
    command = HERE + "ls -A; mkdir -p a/b; echo one > step; echo two > a/b/step; echo no > x.tmp; echo no > .x; exit 3"
    world.go(token, "e1-j1-1", command, checkpoint=checkpoint())
    assert world.control.ended("e1-j1-1")["cause"] == "exited"
    assert kept(world, "e1-j1-1") == {"step": b"one\n", "a/b/step": b"two\n"}
    assert world.control.log("e1-j1-1") == ""


def test_a_run_begins_with_what_was_kept_and_its_unchanged_files_are_not_sent_again(world: World):
    token = world.runner()
    before = world.control.snapshot({"model/weights": b"w" * 100_000, "step": b"1"})
    command = HERE + "cat step; echo 2 > step.tmp; mv step.tmp step"
    world.go(token, "e1-j1-2", command, checkpoint=checkpoint(before))
    world.control.ended("e1-j1-2")
    assert world.control.log("e1-j1-2") == "1"
    assert kept(world, "e1-j1-2") == {"model/weights": b"w" * 100_000, "step": b"2\n"}
    assert world.control.taken.count(world.control.keep(b"w" * 100_000)) == 0


def test_a_folder_that_nothing_was_changed_in_stays_what_was_kept(world: World):
    token = world.runner()
    before = world.control.snapshot({"step": b"1"})
    world.go(token, "e1-j1-2", "true", checkpoint=checkpoint(before))
    world.control.ended("e1-j1-2")
    assert world.control.run("e1-j1-2")["checkpoint"]["snapshot"] == before
    assert world.control.taken == []


def test_an_emptied_folder_is_no_checkpoint(world: World):
    token = world.runner()
    before = world.control.snapshot({"step": b"1"})
    world.go(token, "e1-j1-2", HERE + "rm step", checkpoint=checkpoint(before))
    world.control.ended("e1-j1-2")
    assert world.control.run("e1-j1-2").get("checkpoint", {}).get("snapshot") in (None, before)


def test_a_checkpoint_is_kept_while_the_run_goes_on(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", HERE + "echo 1 > step; sleep 600", checkpoint=checkpoint(every_s=0.2))
    world.control.wait(lambda: kept(world, "e1-j1-1") == {"step": b"1\n"}, words="it is kept")
    assert world.control.run("e1-j1-1")["phase"] == "running"
    world.control.want(token, {"e1-j1-1": {"phase": "stop"}})
    world.control.ended("e1-j1-1")


def test_what_a_run_writes_after_sigterm_is_kept(world: World):
    token = world.runner()
    command = HERE + "trap 'echo last > step; exit 1' TERM; echo ready; while true; do sleep 0.05; done"
    world.go(token, "e1-j1-1", command, checkpoint=checkpoint())
    world.control.wait(lambda: world.control.log("e1-j1-1") == "ready\n", words="it waits")
    world.control.want(token, {"e1-j1-1": {"phase": "stop"}})
    assert world.control.ended("e1-j1-1")["cause"] == "stopped"
    assert kept(world, "e1-j1-1") == {"step": b"last\n"}


def test_a_file_that_changes_while_it_is_read_stays_as_it_was_kept_before(world: World):
    token = world.runner()
    before = world.control.snapshot({"moving": b"old", "still": b"1"})
    command = HERE + "echo 2 > still; exec python3 -c \"\nf = open('moving', 'wb', buffering=0)\n"
    command += "f.write(bytes(1 << 26))\nwhile True: f.seek(0); f.write(b'xy')\n\""
    world.go(token, "e1-j1-2", command, checkpoint=checkpoint(before, every_s=0.2))
    world.control.wait(lambda: kept(world, "e1-j1-2").get("still") == b"2\n", words="the other file is kept")
    assert kept(world, "e1-j1-2")["moving"] == b"old"
    world.control.wait(lambda: "moving is left out" in own_log(world, "e1-j1-2"), words="it is said")
    world.control.want(token, {"e1-j1-2": {"phase": "stop"}})
    world.control.ended("e1-j1-2")
    assert len(kept(world, "e1-j1-2")["moving"]) == 1 << 26


def test_a_checkpoint_that_finds_no_room_is_told_and_the_run_goes_on_with_the_one_before(world: World):
    token = world.runner()
    before = world.control.snapshot({"step": b"1"})
    world.go(token, "e1-j1-2", HERE + "echo 2 > step; sleep 600", checkpoint=checkpoint(before, every_s=0.2))
    world.control.faults.no_room = True
    told = world.control.wait(
        lambda: (
            run["checkpoint"] if (run := world.control.run("e1-j1-2")).get("checkpoint", {}).get("problem") else None
        ),
        words="the problem is reported",
    )
    assert told["snapshot"] == before
    assert "The disk is full." in told["problem"]
    world.control.faults.no_room = False
    world.control.wait(lambda: kept(world, "e1-j1-2") == {"step": b"2\n"}, words="it is kept after all")
    assert world.control.run("e1-j1-2")["checkpoint"]["problem"] == ""
    world.control.wait(lambda: "could not be kept" in own_log(world, "e1-j1-2"), words="it is said")
    world.control.want(token, {"e1-j1-2": {"phase": "stop"}})
    world.control.ended("e1-j1-2")


def test_a_checkpoint_over_the_limit_at_the_end_is_told_with_the_end(world: World):
    token = world.runner()
    before = world.control.snapshot({"step": b"1"})
    world.control.faults.bytes_max = 50_000
    command = HERE + "head -c 100000 /dev/zero > step"
    world.go(token, "e1-j1-2", command, checkpoint=checkpoint(before))
    ended = world.control.ended("e1-j1-2")
    assert ended["cause"] == "completed"
    assert "A newer checkpoint could not be kept: " in ended["words"]
    assert "The file is too large." in ended["words"]
    assert kept(world, "e1-j1-2") == {"step": b"1"}


@pytest.mark.parametrize("moment", [b"1b", b"1d"])
def test_no_half_of_a_checkpoint_that_is_being_deleted_is_kept(world: World, moment: bytes):
    """One of its files is gone already; while the first, or the last, of the others is sent, it goes for the next."""
    token = world.runner()
    folder = world.folder / "e1-a-1-0" / "runs" / "e1-j1-1" / "checkpoint"

    def taken(content: bytes) -> None:
        if content == moment and (folder / "s1").exists():
            (folder / "s2.tmp").rename(folder / "s2")
            shutil.rmtree(folder / "s1")

    world.control.faults.when_taken = taken
    make = "mkdir s1.tmp s2.tmp; for f in a b c d; do printf 1$f > s1.tmp/$f; printf 2$f > s2.tmp/$f; done"
    command = f"{HERE}{make}; rm s1.tmp/a; mv s1.tmp s1; sleep 600"
    world.go(token, "e1-j1-1", command, checkpoint=checkpoint(every_s=0.2))
    first = world.control.wait(lambda: kept(world, "e1-j1-1"), words="something is kept")
    assert first == {"s2/a": b"2a", "s2/b": b"2b", "s2/c": b"2c", "s2/d": b"2d"}
    world.control.want(token, {"e1-j1-1": {"phase": "stop"}})
    world.control.ended("e1-j1-1")


def test_every_node_begins_with_the_checkpoint_and_the_first_ones_is_kept(world: World):
    tokens = [world.runner(rank=rank) for rank in (0, 1)]
    before = world.control.snapshot({"step": b"1"})
    command = HERE + "cat step; echo $ULTRAMARINE_NODE_RANK > step"
    for rank, token in enumerate(tokens):
        one = entry(command, node_rank=rank, nodes=2, checkpoint=checkpoint(before))
        world.control.want(token, {"e1-j1-2": {**one, "master": {"address": "127.0.0.1", "port": 1}}})
    ends = [
        world.control.wait(
            lambda token=token: (
                run
                if (run := world.control.reported.get(token, {}).get("runs", {}).get("e1-j1-2", {})).get("ended")
                else None
            ),
            words="both end",
        )
        for token in tokens
    ]
    assert [world.control.log("e1-j1-2", rank) for rank in ("0", "1")] == ["1", "1"]
    files = json.loads(world.control.blobs[ends[0]["checkpoint"]["snapshot"]])["files"]
    assert world.control.blobs[files[0]["sha256"]] == b"0\n"
    assert ends[1]["checkpoint"] == {}


def test_a_service_has_no_checkpoint_folder(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "echo ${ULTRAMARINE_CHECKPOINT_DIR-none}")
    world.control.ended("e1-j1-1")
    assert world.control.log("e1-j1-1") == "none\n"


def home(snapshot: str | None = None, every_s: float = 600) -> dict[str, Any]:
    """Of a compute instance on a node that has no folder which outlives its runs."""
    return {"checkpoint": {**checkpoint(snapshot, every_s), "is_home": True}}


AT_HOME = "cd {{home}}; "


def test_a_home_is_kept_with_its_hidden_files_and_without_its_caches(world: World):
    token = world.runner()
    command = AT_HOME + "mkdir -p .config/x .cache src/__pycache__; echo 1 > .config/x/y; echo 2 > a.tmp; echo 3 > b"
    command += "; touch .cache/big src/__pycache__/z.pyc; ln -s / root; echo [$ULTRAMARINE_CHECKPOINT_DIR]"
    world.go(token, "e1-ic1-1", command, **home())
    world.control.ended("e1-ic1-1")
    assert kept(world, "e1-ic1-1") == {".config/x/y": b"1\n", "a.tmp": b"2\n", "b": b"3\n"}
    assert world.control.log("e1-ic1-1") == "[]\n"
    assert "root is left out" in own_log(world, "e1-ic1-1")


def test_a_home_comes_back_with_what_was_for_its_owner_alone(world: World):
    token = world.runner()
    command = (
        AT_HOME + "mkdir .ssh; echo key > .ssh/id; chmod 600 .ssh/id; echo hi > run.sh; chmod 700 run.sh; echo x > y"
    )
    world.go(token, "e1-ic1-1", command, **home())
    world.control.ended("e1-ic1-1")
    snapshot = world.control.run("e1-ic1-1")["checkpoint"]["snapshot"]
    world.go(token, "e1-ic1-2", AT_HOME + "stat -c '%a %n' .ssh/id run.sh y", **home(snapshot))
    world.control.ended("e1-ic1-2")
    assert world.control.log("e1-ic1-2") == "600 .ssh/id\n700 run.sh\n644 y\n"


def test_a_home_is_kept_although_files_of_it_come_and_go(world: World):
    token = world.runner()
    command = AT_HOME + "echo 1 > still; while true; do for n in 1 2 3 4 5 6 7 8; do echo $n > f$n; rm f$n; done; done"
    world.go(token, "e1-ic1-1", command, **home(every_s=0.1))
    world.control.wait(lambda: kept(world, "e1-ic1-1").get("still") == b"1\n", words="it is kept")
    world.control.want(token, {"e1-ic1-1": {"phase": "stop"}})
    world.control.ended("e1-ic1-1")


def test_a_home_that_finds_no_room_is_told_in_its_own_words(world: World):
    token = world.runner()
    world.control.faults.no_room = True
    world.go(token, "e1-ic1-1", AT_HOME + "echo 2 > step; sleep 600", **home(every_s=0.2))

    def problem() -> str:
        return world.control.run("e1-ic1-1").get("checkpoint", {}).get("problem", "")

    assert world.control.wait(problem, words="the problem is reported").startswith("A newer home folder could not")
    world.control.faults.no_room = False
    world.control.want(token, {"e1-ic1-1": {"phase": "stop"}})
    world.control.ended("e1-ic1-1")
