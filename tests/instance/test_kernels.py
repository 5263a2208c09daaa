"""A kernel for each environment of the workspace: made where it is not there yet, the same as that of a job."""

import hashlib
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.instance.control import ControlPlane
from tests.instance.running import HERE, Instance, ready_made, until
from tests.runner_environments.index import Index, make_wheel


def lock(index: Index, name: str, *, sha256: str = "") -> dict[str, Any]:
    """What the control plane answers for an environment with one package."""
    text = f"{name}==1.0 \\\n    --hash=sha256:{sha256 or make_wheel(index.folder, name)}\n"
    return {"digest": hashlib.sha256(text.encode()).hexdigest(), "python": HERE, "lock": text}


@pytest.fixture(scope="module", autouse=True)
def workspace(control: ControlPlane, index: Index) -> None:
    """Known before the first list is asked for."""
    make_wheel(index.folder, "broken")
    tiny = lock(index, "tiny")
    control.locks = {
        "tiny:1": lock(index, "older"),
        "tiny:2": tiny,
        "slow:1": lock(index, "slow"),
        "broken:7": lock(index, "broken", sha256="0" * 64),
        "plain:1": {"digest": "none", "python": HERE, "lock": ""},
        "sklearn:4": tiny,
        "jupyter:1": {"digest": ready_made("jupyter")[1].digest, "python": HERE, "lock": ""},
    }
    control.newest = ["broken:7", "jupyter:1", "plain:1", "sklearn:4", "slow:1", "tiny:2"]
    control.curated = {"jupyter:1", "sklearn:4"}


@contextmanager
def silent(control: ControlPlane) -> Generator[None]:
    control.is_silent = True
    try:
        yield
    finally:
        control.is_silent = False


def test_each_environment_is_a_kernel_with_its_digest_and_jupyter_is_always_there_once(
    shared: Instance, control: ControlPlane
):
    with shared.client() as client:
        until(lambda: client.get("api/kernelspecs").json()["default"] == "sklearn--4", shared)
        listed = client.get("api/kernelspecs").json()
    names = {"broken--7", "plain--1", "sklearn--4", "slow--1", "tiny--2", "python3"}
    assert set(listed["kernelspecs"]) == names
    spec = listed["kernelspecs"]["tiny--2"]["spec"]
    assert spec["display_name"] == "tiny:2"
    digest = control.locks["tiny:2"]["digest"]
    assert spec["metadata"]["ultramarine"] == {"environment": "tiny:2", "digest": digest, "python": HERE}
    assert listed["kernelspecs"]["python3"]["spec"]["display_name"] == "Python (jupyter)"


def test_a_cell_runs_in_the_environment_of_jupyter(shared: Instance):
    kernel = shared.begin("python3")
    shown = shared.execute(kernel, "1 + 1", "import os, sys; sys.prefix, os.environ['ULTRAMARINE_WORKSPACE']")
    _, jupyter = ready_made("jupyter")
    assert shown[0]["result"] == "2"
    assert jupyter.digest in shown[1]["result"]
    assert "default" in shown[1]["result"]


ABOUT = "import os, sys, tiny, ipykernel; [tiny.VERSION, sys.prefix, ipykernel.__file__, os.environ['VIRTUAL_ENV']]"


def test_a_cell_waits_for_the_environment_and_says_how_far_it_is(shared: Instance, control: ControlPlane, index: Index):
    index.open.clear()
    kernel = shared.begin("tiny--2")
    shown: list[Any] = []
    asked = "import shutil; shutil.which('tiny-says')"
    client = threading.Thread(target=lambda: shown.extend(shared.execute(kernel, ABOUT, asked)))
    client.start()
    until(lambda: any("tiny" in path for path in index.asked), shared)
    with shared.client() as program:
        until(lambda: program.get(f"api/kernels/{kernel}").json()["execution_state"] == "busy", shared)
    index.open.set()
    client.join()
    assert "tiny:2 is being made ready. environment: " in "".join(shown[0]["streams"])
    version, prefix, ipykernel, active = eval(shown[0]["result"])
    digest = control.locks["tiny:2"]["digest"]
    assert (version, active) == ("1.0", prefix)
    assert prefix.endswith(f"environments/{digest}")
    assert ready_made("kernel")[1].digest in ipykernel, "what makes it a kernel stands behind it"
    assert digest in shown[1]["result"], "its programs are found first"
    behind = {ready_made(name)[1].digest for name in ("kernel", "client")}
    assert set(held(shared)) >= {digest, *behind}, "nobody may delete it now"
    assert "[tiny:2] environment: making it" in shared.home.joinpath("setup", "environments.log").read_text()


def held(instance: Instance) -> list[str]:
    """The environments that its kernels hold."""
    open_ones = [os.readlink(file) for pid in instance.kernels() for file in Path(f"/proc/{pid}/fd").iterdir()]
    return [Path(place).stem for place in open_ones if place.endswith(".used")]


def test_one_that_was_made_starts_without_a_word_when_the_control_plane_is_silent(
    shared: Instance, control: ControlPlane
):
    shared.execute(shared.begin("tiny--2"), "1")
    with silent(control):
        shown = shared.execute(shared.begin("tiny--2"), ABOUT)[0]
        assert shown["streams"] == []
        assert eval(shown["result"])[0] == "1.0"
        with shared.client() as client:
            assert "tiny--2" in client.get("api/kernelspecs").json()["kernelspecs"]


def test_a_notebook_of_an_older_version_finds_it(shared: Instance):
    shown = shared.execute(shared.begin("tiny--1"), "import older; older.VERSION")
    assert shown[0]["result"] == "'1.0'"


def test_an_environment_without_packages_is_the_machines_own_python(shared: Instance):
    shown = shared.execute(shared.begin("plain--1"), "import sys; sys.prefix == sys.base_prefix")
    assert shown[0]["result"] == "True"


def test_one_that_cannot_be_made_says_why_in_each_cell(shared: Instance):
    kernel = shared.begin("broken--7")
    for shown in shared.execute(kernel, "1 + 1", "2 + 2"):
        assert shown["status"] == "error"
        assert "broken==1.0" in shown["error"]
        assert "its hash differs" in shown["error"]
    with shared.client() as client:
        assert client.delete(f"api/kernels/{kernel}").status_code == 204


def test_a_cell_that_waits_can_be_interrupted_and_a_kernel_that_waits_ended(shared: Instance, index: Index):
    index.open.clear()
    kernel = shared.begin("slow--1")
    shown: list[Any] = []
    client = threading.Thread(target=lambda: shown.extend(shared.execute(kernel, "1 + 1")))
    client.start()
    until(lambda: any("slow" in path for path in index.asked), shared)
    with shared.client() as program:
        until(lambda: program.get(f"api/kernels/{kernel}").json()["execution_state"] == "busy", shared)
        assert program.post(f"api/kernels/{kernel}/interrupt").status_code == 204
        client.join()
        assert "Interrupted" in shown[0]["error"]
        assert program.delete(f"api/kernels/{kernel}").status_code == 204
    index.open.set()


def test_a_kernel_that_nobody_knows_is_refused(shared: Instance):
    with shared.client() as client:
        for name in ("nothing--1", "nothing"):
            answer = client.post("api/kernels", json={"name": name})
            assert answer.status_code == 404
            assert f"There is no kernel {name}" in answer.json()["message"]
