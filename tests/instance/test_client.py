"""The command line and the Python client in an instance: there without a word of configuration."""

import io
import json
import subprocess
import zipfile
from pathlib import Path

import pytest
from tests.instance.conftest import Begin
from tests.instance.control import ControlPlane
from tests.instance.running import Instance, ready_made, until
from tests.instance.test_kernels import lock
from tests.runner_environments.index import Index

from ultramarine import curated
from ultramarine.services.client import client_zip
from ultramarine_runner.pythons import find_pythons

OLDEST = "3.10"
LIST = '[(each["name"], each["status"]) for each in Workspace.connect().environments.list()]'


@pytest.fixture(scope="module", autouse=True)
def workspace(control: ControlPlane, index: Index) -> None:
    control.locks = {"small:2": lock(index, "small"), "dated:1": lock(index, "pydantic")}
    control.newest = ["small:2", "dated:1"]


def test_the_packed_client_is_all_that_it_imports(tmp_path: Path):
    environment, _ = ready_made("client")
    with zipfile.ZipFile(io.BytesIO(client_zip())) as packed:
        packed.extractall(tmp_path)
        names = [each.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for each in packed.namelist()]
    code = "import importlib, sys; sys.path.append(sys.argv[1]); [importlib.import_module(one) for one in sys.argv[2:]]"
    python = environment / "bin" / "python"
    done = subprocess.run([python, "-I", "-c", code, tmp_path, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {each.split(".")[1] for each in names if "." in each} == {"cli", "domain", "sdk", "supervision"}


@pytest.mark.parametrize("kernel", ["small--2", "python3"])
def test_a_kernel_imports_the_client_behind_its_environment_and_is_connected(shared: Instance, kernel: str):
    code = ["from ultramarine.sdk import Workspace", LIST, "import sys, ultramarine; ultramarine.__file__, sys.path"]
    shown = shared.execute(shared.begin(kernel), *code)
    assert shown[0]["status"] == "ok", shown[0]
    assert eval(shown[1]["result"]) == [("small", "Succeeded"), ("dated", "Succeeded")]
    place, path = eval(shown[2]["result"])
    assert place == str(shared.folder / ".client" / "lib" / "ultramarine" / "__init__.py")
    behind = path[path.index(str(shared.folder / ".client" / "lib")) :]
    assert len(behind) == 2, "nothing but what it imports stands behind it"
    assert ready_made("client")[1].digest in behind[1]


@pytest.mark.parametrize("kernel", ["small--2", "python3"])
def test_um_is_there_in_a_kernel_in_the_folder_of_the_notebook(shared: Instance, kernel: str):
    mine = shared.home.joinpath("yaml.py")
    mine.write_text("raise SystemExit('mine is not to be imported')")
    cells = ["%env PYTHONPATH=.", "!um environment list -o yaml", "!um environment show nothing; echo $?"]
    _, listed, refused = ("".join(one["streams"]) for one in shared.execute(shared.begin(kernel), *cells))
    assert "name: small" in listed
    assert "There is no environment nothing" in refused
    assert refused.rstrip().endswith("3")
    mine.unlink()


def test_um_is_there_in_a_terminal_whatever_a_login_shell_makes_of_the_path(shared: Instance):
    profile, there = shared.home.joinpath(".bash_profile"), shared.home.joinpath("there.json")
    profile.write_text("export PATH=/usr/bin:/bin\n")
    with shared.typed("um environment list -o json > listed.json 2>&1; mv listed.json there.json"):
        until(there.exists, shared)
    assert [one["name"] for one in json.loads(there.read_text())] == ["small", "dated"]
    profile.unlink()


def test_um_is_there_in_set_up_scripts_and_applications_and_its_owners_terminal_is_another_if_wanted(
    begin: Begin, short: Path
):
    folder = short / "home" / ".jupyter"
    folder.mkdir(parents=True)
    shell = '["bash", "-c", "touch anothers; exec bash"]'
    folder.joinpath("jupyter_server_config.py").write_text(
        f'c.ServerApp.terminado_settings = {{"shell_command": {shell}}}\n'
    )
    command = "um environment list -o tsv --query '[].name' > {0}.part && mv {0}.part {0}"
    instance = begin(
        setup_scripts={"startup_script": {"command": command.format("script")}},
        custom_applications=[{"name": "app", "command": command.format("app") + "; sleep 60", "port": 18000}],
    ).until_it_answers()
    assert instance.home.joinpath("script").read_text().split() == ["small", "dated"]
    until(instance.home.joinpath("app").exists, instance)
    with instance.client() as client:
        client.post("api/terminals")
    until(instance.home.joinpath("anothers").exists, instance)


def test_an_environments_own_packages_win_and_one_that_is_too_old_is_named(shared: Instance):
    cells = ["from ultramarine.sdk import Workspace", LIST, "Workspace.connect().jobs.create({})", "!um job create"]
    read, listed, refused, typed = shared.execute(shared.begin("dated--1"), *cells)
    assert (read["status"], listed["status"]) == ("ok", "ok")
    assert "from 'pydantic'" in refused["error"]
    assert "Nothing says what to create" in "".join(typed["streams"])


def test_a_server_is_neither_started_nor_backed_up_from_an_instance(shared: Instance):
    for shown in shared.execute(shared.begin("python3"), "!um up -d", "!um backup all.tar"):
        assert "Here is the client alone" in "".join(shown["streams"])


def test_a_python_that_is_too_old_is_told_so():
    found = find_pythons()
    assert OLDEST in found, f"a test of Python {OLDEST} needs one"
    source = Path(curated.__file__).parents[2]
    code = f"import sys; sys.path.append({str(source)!r}); import ultramarine.sdk"
    done = subprocess.run([found[OLDEST], "-I", "-B", "-c", code], capture_output=True, text=True)
    assert "ultramarine needs Python 3.11 or newer, and this is Python 3.10." in done.stderr
