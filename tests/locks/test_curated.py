"""Every curated environment can be built from its lock, and does what it is for."""

import itertools
import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.runner_environments.building import UV

from ultramarine import curated
from ultramarine.domain.conda import PythonNotThere
from ultramarine.domain.errors import InvalidInput
from ultramarine.locks.site import site_options
from ultramarine_runner.environments import EnvironmentFailed, Recipe, ensure, find_pythons

CACHE = Path(os.environ.get("ULTRAMARINE_TEST_CACHE") or Path.home() / ".cache" / "ultramarine-tests")
NAMES = ("client", "inference", "jupyter", "kernel", "minimal", "onnx", "page", "pytorch", "serving", "sklearn")


def test_these_are_there():
    assert tuple(curated.load()) == NAMES
    assert [name for name, one in curated.load().items() if one.is_internal] == [
        "client",
        "kernel",
        "onnx",
        "page",
        "serving",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_holds_what_was_asked_for_by_hash_without_any_url(name: str):
    one = curated.load()[name]
    for accelerator, python, platform in itertools.product(one.texts, one.pythons, one.platforms):
        lock = one.lock(python=python, platform=platform, accelerator=accelerator)
        names = [package for package, _ in lock.packages]
        assert len(set(names)) == len(names), "two versions of one package for one Python"
        assert one.asked <= set(names)
    for text in one.texts.values():
        assert "://" not in text
        pins = re.findall(r"^\S+==", text, re.MULTILINE)
        assert len(re.findall(r"==\S+.*\\\n    --hash=", text)) == len(pins)


def test_pytorch_is_the_same_for_a_cpu_and_for_cuda_but_for_what_cuda_needs():
    cpu, cuda = curated.load()["pytorch"].locks(("3.12", "3.11"), platform="linux-x86_64")
    assert (cpu.accelerator, cuda.accelerator, cpu.python, cuda.python) == ("cpu", "cuda", "3.11", "3.11")
    assert cpu.digest != cuda.digest
    without, with_it = dict(cpu.packages), dict(cuda.packages)
    assert (without.pop("torch"), with_it.pop("torch")) == ("2.13.0+cpu", "2.13.0")
    assert without.items() <= with_it.items()
    assert all(re.match(r"nvidia-|cuda-|triton$", name) for name in with_it.keys() - without.keys())


def test_a_machine_that_an_environment_is_not_locked_for_is_named():
    with pytest.raises(InvalidInput, match="pytorch is locked for linux-x86_64, not for linux-aarch64"):
        curated.load()["pytorch"].locks(("3.11",), platform="linux-aarch64")
    assert [lock.accelerator for lock in curated.load()["sklearn"].locks(("3.11",), platform="linux-aarch64")] == [
        "cpu"
    ]


def test_what_stands_behind_one_environment_together_agrees_on_what_it_shares():
    client, kernel = curated.load()["client"], curated.load()["kernel"]
    assert client.pythons == kernel.pythons
    for python in client.pythons:
        one, other = (dict(each.lock(python=python, platform="linux-x86_64").packages) for each in (client, kernel))
        shared = one.keys() & other.keys()
        assert {name: one[name] for name in shared} == {name: other[name] for name in shared}


def test_the_preferred_python_is_taken_else_the_newest_else_it_is_said_what_would_do():
    one = curated.load()["sklearn"]
    assert one.choose_python(("3.10", "3.11", "3.12")) == "3.11"
    assert one.choose_python(("3.8", "3.10", "3.12")) == "3.12"
    with pytest.raises(PythonNotThere, match=r"3\.10 or 3\.11 or 3\.12 or 3\.13 is not there; there is: 3\.8"):
        one.choose_python(("3.8",))
    with pytest.raises(PythonNotThere):
        one.lock(python="3.8", platform="linux-x86_64")


@pytest.mark.parametrize("name", NAMES)
def test_it_does_what_it_is_for(name: str, tmp_path: Path):
    one = curated.load()[name]
    lock = one.lock(python=one.choose_python(tuple(find_pythons())), platform=f"linux-{os.uname().machine}")
    recipe = Recipe(digest=lock.digest, lock=lock.text.encode(), python=lock.python)
    try:
        home = ensure(CACHE, recipe, options=site_options().to_json(), uv=UV, progress=lambda _: None)
    except EnvironmentFailed as failed:
        if one.find_links and "No package index of this site has" in failed.words:
            pytest.skip(failed.words)
        raise
    script = tmp_path / "smoke.py"
    script.write_text(one.smoke)
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [home / "bin" / "python", script],
        env=clean,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
