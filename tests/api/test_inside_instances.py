"""What a compute instance is to run beside JupyterLab, as it is asked for and as the program inside is told."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.api.conftest import Api

from ultramarine.domain.inside import SCRIPT_BYTES_MAX
from ultramarine.domain.instance import InstanceSpec
from ultramarine.services.instances import run_spec
from ultramarine.store import computes, instances
from ultramarine_instance.settings import Settings, load

W = "/api/v1/workspaces/w"
MINE = f"{W}/computes/mine"
BODY = {"type": "computeinstance", "size": "cpu-1"}
ME = "data_scientist"


async def sent(api: Api, content: bytes, *, kind: str = "file") -> str:
    """As the client uploads a script."""
    blob = hashlib.sha256(content).hexdigest()
    assert (await api.ask("PUT", f"{W}/blobs/{blob}", content=content)).status_code in (200, 201, 204)
    entry = {"path": "set-up.sh", "sha256": blob, "size": len(content), "mode": 0o644}
    manifest = json.dumps({"files": [entry], "kind": kind}, sort_keys=True, separators=(",", ":")).encode()
    name = hashlib.sha256(manifest).hexdigest()
    assert (await api.ask("PUT", f"{W}/snapshots/{name}", content=manifest)).json() == {"missing": []}
    return f"snapshot:{name}"


async def put(api: Api, **more: Any) -> tuple[int, Any]:
    answer = await api.ask("PUT", MINE, token=ME, json=BODY | more)
    return answer.status_code, answer.json()


async def told(api: Api, folder: Path) -> Settings:
    """What the next run of it is told, with its files as the runner lays them."""
    async with api.ctx.read() as tx:
        compute = await computes.get(tx, "w", "mine")
        there = await instances.find(tx, compute.id)
    assert isinstance(compute.spec, InstanceSpec)
    assert there is not None
    run = run_spec(api.ctx, there, compute.spec, zip_sha256="0" * 64, is_elsewhere=False)
    for file in run["files"][1:]:
        (folder / file["path"]).write_bytes(api.ctx.blobs.read(file["sha256"]))
    return load(folder / "settings.json")


async def test_a_script_that_came_along_lies_beside_the_settings_and_is_called_with_its_arguments(
    api: Api, tmp_path: Path
) -> None:
    path = await sent(api, b"echo $1 > made\n")
    creation = {"path": path, "command": "'one two'", "timeout_minutes": 20}
    status, made = await put(api, setup_scripts={"creation_script": creation, "startup_script": {"command": "date"}})
    assert (status, made["setup_scripts"]["creation_script"]) == (201, creation)
    settings = await told(api, tmp_path)
    assert settings.creation is not None
    assert settings.startup is not None
    assert (settings.creation.command, settings.creation.timeout_s) == ("'one two'", 1200)
    assert (tmp_path / settings.creation.file).read_bytes() == b"echo $1 > made\n"
    assert (settings.startup.command, settings.startup.file, settings.startup.timeout_s) == ("date", "", 900)


async def test_other_scripts_are_those_of_the_next_start(api: Api, tmp_path: Path) -> None:
    await put(api, setup_scripts={"creation_script": {"command": "false"}})
    other = {"startup_script": {"command": "true"}}
    changed = await api.ask("PATCH", MINE, token=ME, json={"setup_scripts": other})
    assert (changed.status_code, changed.json()["setup_scripts"]) == (200, other)
    settings = await told(api, tmp_path)
    assert settings.creation is None
    assert settings.startup is not None
    assert (await api.ask("PATCH", MINE, token=ME, json={"setup_scripts": None})).status_code == 200
    assert (await told(api, tmp_path)).startup is None


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({}, "creation_script: it has neither a path nor a command"),
        ({"command": "  "}, "creation_script: it has neither a path nor a command"),
        ({"command": "x", "timeout_minutes": 26}, "timeout_minutes: Input should be less than or equal to 25"),
        ({"command": "x", "timeout_minutes": 0}, "timeout_minutes: Input should be greater than or equal to 1"),
        ({"command": "x" * 40_000}, "creation_script.command: String should have at most 32768 characters"),
        ({"path": "set-up.sh"}, "creation_script.path: 'set-up.sh' is a path of your machine"),
        ({"path": "x", "command": "'one"}, "command: it cannot be taken apart into the script's arguments"),
        ({"script": "x"}, "unknown field 'script'"),
    ],
)
async def test_a_script_that_cannot_be_is_refused_with_its_place(api: Api, script: Any, said: str) -> None:
    status, refused = await put(api, setup_scripts={"creation_script": script})
    assert (status, bool(refused["hint"])) == (422, True)
    assert said in refused["detail"]


async def test_a_script_that_is_a_folder_too_large_or_not_here_is_refused(api: Api) -> None:
    for path, status, said in (
        (await sent(api, b"x", kind="folder"), 422, "is a folder, and no script"),
        (await sent(api, b"#" * (SCRIPT_BYTES_MAX + 1)), 413, "set-up.sh has 262145 bytes"),
        (f"snapshot:{'0' * 64}", 404, "There is no snapshot"),
    ):
        answered, refused = await put(api, setup_scripts={"startup_script": {"path": path}})
        assert (answered, said in refused["detail"]) == (status, True), refused


BOARD = {"name": "board", "command": "tensorboard --port $PORT", "port": 6006}


async def test_custom_applications_are_told_to_the_program_inside(api: Api, tmp_path: Path) -> None:
    status, made = await put(api, custom_applications=[BOARD])
    assert (status, made["custom_applications"]) == (201, [BOARD])
    assert [asdict(one) for one in (await told(api, tmp_path)).applications] == [BOARD]
    other = BOARD | {"name": "demo"}
    assert (await api.ask("PATCH", MINE, token=ME, json={"custom_applications": [other]})).status_code == 200
    assert [asdict(one) for one in (await told(api, tmp_path)).applications] == [other]


CONTAINER = "an application is a program here, and no container"


@pytest.mark.parametrize(
    ("different", "said"),
    [
        ({"name": "My Board"}, "custom_applications.0.name: it stands in an address"),
        ({"name": "a" * 33}, "custom_applications.0.name: it stands in an address"),
        ({"name": "../x"}, "custom_applications.0.name: it stands in an address"),
        ({"command": " "}, "custom_applications.0.command: it is empty"),
        ({"port": 80}, "custom_applications.0.port: Input should be greater than or equal to 1024"),
        ({"port": 70000}, "custom_applications.0.port: Input should be less than or equal to 65535"),
        ({"port": 7772}, "7772, the port of board, is this installation's own"),
        ({"image": {"reference": "x"}}, f"custom_applications.0: image: {CONTAINER}: install the program"),
        ({"endpoints": []}, f"endpoints: {CONTAINER}: write port:"),
        ({"published_port": 1}, f"published_port: {CONTAINER}"),
        ({"bind_mounts": []}, f"bind_mounts: {CONTAINER}"),
        ({"ports": 1}, "unknown field 'ports', did you mean 'port'?"),
    ],
)
async def test_an_application_that_cannot_be_is_refused_with_its_place(api: Api, different: Any, said: str) -> None:
    status, refused = await put(api, custom_applications=[BOARD | different])
    assert (status, bool(refused["hint"])) == (422, True)
    assert said in refused["detail"]


async def test_two_applications_of_one_name_or_port_or_eleven_are_refused(api: Api) -> None:
    for given, said in (
        ([BOARD, BOARD | {"port": 6007}], "two applications have the name board"),
        ([BOARD, BOARD | {"name": "demo"}], "two applications have the port 6006"),
        ([BOARD | {"name": f"b{i}", "port": 6006 + i} for i in range(11)], "at most 10 items"),
    ):
        status, refused = await put(api, custom_applications=given)
        assert (status, said in refused["detail"]) == (422, True), refused


async def test_a_port_of_another_instance_of_the_machine_is_refused_until_that_one_gives_it_up(api: Api) -> None:
    other = "/api/v1/workspaces/v/computes/other"
    theirs = {"custom_applications": [BOARD, BOARD | {"name": "demo", "port": 6007}]}
    assert (await api.ask("PUT", other, token="other", json=BODY | theirs)).status_code == 201
    assert (await api.ask("PUT", other, token="other", json=BODY | theirs)).status_code == 200, "its own"
    status, refused = await put(api, custom_applications=[BOARD])
    assert status == 409
    assert "6006, the port of board, is another compute instance's" in refused["detail"]
    assert "Nobody has 6008." in refused["hint"]
    assert (await put(api))[0] == 201
    changed = await api.ask("PATCH", MINE, token=ME, json={"custom_applications": [BOARD]})
    assert changed.status_code == 409
    assert (await api.ask("PATCH", other, token="other", json={"custom_applications": []})).status_code == 200
    assert (await put(api, custom_applications=[BOARD]))[0] == 200
