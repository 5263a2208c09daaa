"""The runner as one file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.runner.conftest import World

from ultramarine.drivers import pyz
from ultramarine_runner import trees


def test_the_same_source_is_packed_into_the_same_bytes(tmp_path: Path):
    first, second = pyz.build(tmp_path / "a"), pyz.build(tmp_path / "b")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert pyz.build(tmp_path / "a") == first
    assert [file.name for file in (tmp_path / "a").iterdir()] == [first.name]


def test_the_packed_runner_says_how_it_is_used(tmp_path: Path):
    done = subprocess.run([sys.executable, "-I", pyz.build(tmp_path)], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr.startswith("usage: python runner.pyz FOLDER")) == (2, True)


def test_the_packed_runner_carries_its_allocation_though_nobody_gave_it_that(world: World, tmp_path: Path):
    folder = world.make_folder("e1-a-9")
    process = subprocess.Popen([sys.executable, "-I", pyz.build(tmp_path), folder], env={"PATH": os.environ["PATH"]})
    world.allocations.append("e1-a-9")
    world.runners.append(process)
    world.go("e1-a-9-0", "e1-j1-1", "echo $ULTRAMARINE_ALLOCATION $ULTRAMARINE_RUN_KEY")
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    assert world.control.log("e1-j1-1") == "e1-a-9 e1-j1-1\n"
    assert process.pid in trees.carriers(trees.ALLOCATION, "e1-a-9")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
