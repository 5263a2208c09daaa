"""What a run goes through before its ranks start, and how that can fail."""

import hashlib
import sys
import time
from pathlib import Path
from typing import Any

from tests.runner.conftest import World, make_spec

from ultramarine_runner import unused

UV = Path(sys.executable).parent / "uv"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_a_run_uses_the_interpreter_of_its_environment_and_the_next_one_finds_it_built(world: World):
    token = world.runner(uv=str(UV))
    lock = world.control.keep(b"")  # an environment without packages needs no network
    environment: dict[str, Any] = {"digest": "e" * 64, "python": VERSION, "lock": lock, "options": {}}
    command = 'test "$(command -v python)" = {{python}}; echo "$VIRTUAL_ENV"; ls -d {{site:0}}'
    for key in ("e1-j1-1", "e1-j2-1"):
        world.go(token, key, command, environment=environment, behind=[environment])
        ended = world.control.ended(key, within_s=60)
        assert ended["cause"] == "completed", ended
        made = world.folder / "cache" / "environments" / ("e" * 64)
        assert world.control.log(key) == f"{made}\n{made}/lib/python{VERSION}/site-packages\n"
    assert "environment:" in world.control.log("e1-j1-1", "node0", "preparation.txt")
    assert world.control.log("e1-j2-1", "node0", "preparation.txt") == ""


def test_an_environment_is_in_use_from_before_the_ranks_start_until_the_run_is_forgotten(world: World):
    token = world.runner(uv=str(UV))
    environment = {"digest": "c" * 64, "python": VERSION, "lock": world.control.keep(b"")}
    world.go(token, "e1-j1-1", "sleep 600", environment=environment)
    world.control.wait(lambda: world.control.run("e1-j1-1").get("phase") == "running", words="it runs")
    folder = world.folder / "cache" / "environments"
    later = time.time() + 365 * 86400
    assert unused.collect(folder, unused.Rules(), now=later) == []
    world.control.want(token, {"e1-j1-1": {"phase": "stop"}})
    assert world.control.ended("e1-j1-1", within_s=30)["cause"] == "stopped"
    world.control.want(token, {"e1-j1-1": None})
    world.control.wait(lambda: world.control.run("e1-j1-1") == {}, words="it is forgotten")
    assert unused.collect(folder, unused.Rules(), now=later) == ["c" * 64]


def test_an_environment_that_cannot_be_built_is_told_apart_from_the_users_code(world: World):
    token = world.runner(uv=str(UV))
    lock = world.control.keep(f"no-such-package-at-all==1.0 --hash=sha256:{'0' * 64}\n".encode())
    options = {"no_index": True, "offline": True}
    environment: dict[str, Any] = {"digest": "f" * 64, "python": VERSION, "lock": lock, "options": options}
    world.go(token, "e1-j1-1", "true", environment=environment)
    ended = world.control.ended("e1-j1-1", within_s=60)
    assert ended["cause"] == "environment"
    assert "no-such-package-at-all" in ended["words"] + world.control.log("e1-j1-1", "node0", "preparation.txt")


def test_a_run_goes_on_without_an_optional_one_behind_it_and_says_so(world: World):
    token = world.runner(uv=str(UV))
    lock = world.control.keep(f"no-such-package-at-all==1.0 --hash=sha256:{'0' * 64}\n".encode())
    behind: dict[str, Any] = {"digest": "b" * 64, "python": VERSION, "lock": lock, "is_optional": True}
    behind["options"] = {"no_index": True, "offline": True}
    world.go(token, "e1-j1-1", "echo site={{site:0}} cache={{cache}}", behind=[behind])
    ended = world.control.ended("e1-j1-1", within_s=60)
    assert ended["cause"] == "completed", ended
    assert world.control.log("e1-j1-1") == f"site= cache={world.folder}/cache/runs\n"
    assert "Goes on without" in world.control.log("e1-j1-1", "node0", "preparation.txt")


def test_a_node_without_uv_gets_it_from_the_control_plane(world: World):
    token = world.runner()
    environment = {"digest": "d", "python": VERSION, "lock": world.control.keep(b"")}
    world.go(token, "e1-j1-1", "true", environment=environment)
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], "Install uv on the node" in ended["words"]) == ("environment", True)
    world.control.tool = UV.read_bytes()
    world.go(token, "e1-j2-1", "true", environment=environment)
    assert world.control.ended("e1-j2-1", within_s=60)["cause"] == "completed"


def test_a_run_is_canceled_while_its_files_are_being_fetched(world: World):
    token = world.runner()
    files = {f"{at}.bin": bytes([at]) * 100 for at in range(3)}
    snapshot = world.control.snapshot(files)
    last = hashlib.sha256(files["2.bin"]).hexdigest()
    world.control.held.add(last)
    world.go(token, "e1-j1-1", "echo never", code={"snapshot": snapshot})
    world.control.wait(lambda: world.control.waiting, words="the last file is asked for")
    world.control.wait(lambda: world.control.run("e1-j1-1").get("progress", "").startswith("fetching "))
    world.control.want(token, {"e1-j1-1": {"phase": "stop"}})
    assert world.control.ended("e1-j1-1", within_s=5)["cause"] == "stopped"
    world.control.want(token, {"e1-j1-1": None, "e1-j2-1": {"phase": "go", "spec": make_spec("echo other")}})
    assert world.control.ended("e1-j2-1", within_s=5)["cause"] == "completed"
    assert world.control.run("e1-j1-1")["phase"] == "ended", "it is not forgotten while a worker writes into its folder"
    world.control.release(last)
    world.control.wait(lambda: world.control.run("e1-j1-1") == {}, words="it is forgotten")
    world.control.wait(lambda: not (world.folder / "e1-a-1-0/runs/e1-j1-1").exists(), words="its folder is deleted")


def test_a_full_disk_ends_the_task_that_fills_it_and_no_service(world: World):
    token = world.runner(disk_reserve_bytes=1 << 62)  # more than any disk has: it counts as full
    world.go(token, "e1-j2-1", "echo on; exec sleep 1000", mode="service")
    world.go(token, "e1-j1-1", "head -c 4000000 /dev/zero > big; exec sleep 1000")
    ended = world.control.ended("e1-j1-1")
    assert ended["cause"] == "disk_full"
    assert ended["words"].startswith("The node's disk is full")
    assert world.control.run("e1-j2-1")["phase"] == "running"


def test_a_full_disk_of_two_nodes_ends_the_task_of_the_one_that_fills_it(world: World):
    first, second = (world.runner(name, disk_reserve_bytes=1 << 62) for name in ("e1-a-1", "e1-a-2"))
    # Its service has the larger file from the beginning; what the other node sees of it is a larger file.
    world.go(first, "e1-j1-1", "head -c 90000000 /dev/zero > big; echo on; exec sleep 1000", mode="service")
    world.control.wait(lambda: world.control.log("e1-j1-1"))
    began = time.monotonic()
    world.go(second, "e1-j2-1", "head -c 4000000 /dev/zero > big; exec sleep 1000")
    assert world.control.ended("e1-j2-1", within_s=30)["cause"] == "disk_full"
    assert time.monotonic() - began > 5, "whoever wrote more had the time to go"
