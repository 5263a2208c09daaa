"""Code, inputs and outputs."""

import hashlib
import json
import os
from typing import Any

import pytest
from tests.runner.conftest import World, make_spec
from tests.runner.control import manifest


def outputs(world: World, sha256: str) -> dict[str, bytes]:
    """The files of an output that was stored."""
    entries = json.loads(world.control.blobs[sha256])["files"]
    return {one["path"]: world.control.blobs[one["sha256"]] for one in entries}


def data(name: str, snapshot: str, mode: str = "ro_mount") -> dict[str, Any]:
    return {"name": name, "variable": f"AZUREML_INPUT_{name}", "snapshot": snapshot, "mode": mode, "kind": "uri_folder"}


def test_each_run_has_its_own_copy_of_the_code(world: World):
    token = world.runner()
    code = {"snapshot": world.control.snapshot({"src/main.sh": b"echo from main\n", "n.txt": b"1"})}
    for key in ("e1-j1-1", "e1-j2-1"):
        world.go(token, key, "cat n.txt; echo 2 > n.txt; sh src/main.sh", code=code)
        assert world.control.ended(key)["cause"] == "completed"
        assert world.control.log(key) == "1from main\n"


def test_inputs_are_folders_or_files_by_their_name_and_their_variable(world: World):
    token = world.runner()
    folder = world.control.snapshot({"a/b.txt": b"in a folder"})
    file = world.control.snapshot({"iris data.csv": b"in a file"}, kind="file")
    world.go(
        token,
        "e1-j1-1",
        'cat {{input:folder}}/a/b.txt "$AZUREML_INPUT_file" {{input:own}}/a/b.txt;'
        "basename {{input:file}}; echo x > {{input:own}}/new",
        inputs=[data("folder", folder), data("file", file), data("own", folder, "download")],
    )
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    assert world.control.log("e1-j1-1") == "in a folderin a filein a folderiris data.csv\n"


def test_what_was_fetched_once_is_not_fetched_again(world: World):
    token = world.runner()
    code = {"snapshot": world.control.snapshot({"a.txt": b"a"})}
    world.go(token, "e1-j1-1", "cat a.txt", code=code)
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    world.control.blobs.clear()
    world.go(token, "e1-j2-1", "cat a.txt", code=code)
    assert world.control.ended("e1-j2-1")["cause"] == "completed"


def test_a_file_whose_transfer_breaks_off_is_fetched_on_from_there(world: World):
    token = world.runner()
    content = bytes(range(256)) * 20_000
    tool = world.control.keep(content)
    world.control.faults.cut = 3_000_000
    world.go(token, "e1-j1-1", "sha256sum < {{file:big}}", files=[{"path": "big", "sha256": tool}])
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    assert world.control.log("e1-j1-1").split()[0] == tool
    assert world.control.faults.ranges == ["bytes=3000000-"]


def test_files_and_outputs_arrive_whole_though_a_third_of_all_answers_is_lost(world: World):
    token = world.runner()
    code = {"snapshot": world.control.snapshot({f"{at}.txt": f"{at}\n".encode() for at in range(20)})}
    world.control.faults.drop = 0.3
    world.go(token, "e1-j1-1", "cp *.txt outputs/", code=code)
    ended = world.control.ended("e1-j1-1", within_s=40)
    assert ended["cause"] == "completed"
    assert outputs(world, ended["outputs"]["default"]) == {f"{at}.txt": f"{at}\n".encode() for at in range(20)}


def test_outputs_come_back_as_they_were_written(world: World):
    token = world.runner()
    world.go(
        token,
        "e1-j1-1",
        "mkdir -p outputs/deep; echo 1 > outputs/deep/a; printf two > {{output:model}}/m; chmod +x {{output:model}}/m;"
        "printf three > {{output:report}}; head -c 3000000 /dev/zero > outputs/zeros; exit 1",
        outputs=[{"name": "model", "kind": "uri_folder"}, {"name": "report", "kind": "uri_file"}],
    )
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], sorted(ended["outputs"])) == ("exited", ["default", "model", "report"])
    found = {name: outputs(world, sha256) for name, sha256 in ended["outputs"].items()}
    assert found == {
        "default": {"deep/a": b"1\n", "zeros": bytes(3_000_000)},
        "model": {"m": b"two"},
        "report": {"report": b"three"},
    }
    stored = {name: json.loads(world.control.blobs[sha256]) for name, sha256 in ended["outputs"].items()}
    assert stored["model"]["files"][0]["mode"] == 0o755
    assert (stored["report"]["kind"], stored["default"]["kind"]) == ("file", "folder")


def test_an_output_of_one_run_is_an_input_of_the_next(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "echo handed on > {{output:o}}/f", outputs=[{"name": "o", "kind": "uri_folder"}])
    snapshot = world.control.ended("e1-j1-1")["outputs"]["o"]
    world.go(token, "e1-j2-1", "cat {{input:i}}/f", inputs=[data("i", snapshot)])
    assert world.control.ended("e1-j2-1")["cause"] == "completed"
    assert world.control.log("e1-j2-1") == "handed on\n"


def test_of_an_output_that_is_taken_away_while_it_is_sent_the_name_is_told_and_others_arrive(world: World):
    token = world.runner()
    large = hashlib.sha256(bytes(100_000)).hexdigest()
    world.control.held.add(large)
    command = "head -c 100000 /dev/zero > {{output:a}}/1; echo gone > {{output:a}}/2; echo there > {{output:b}}/3"
    names = [{"name": name, "kind": "uri_folder"} for name in ("a", "b")]
    world.go(token, "e1-j1-1", command, outputs=names)
    world.control.wait(lambda: world.control.waiting, words="it is asked whether the first file is there")
    next(world.folder.rglob("runs/e1-j1-1/outputs/a/2")).unlink()
    world.control.release(large)
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], sorted(ended["outputs"])) == ("runner", ["b"])
    lost = "a: outputs/a/2 could not be read: No such file or directory."
    assert ended["words"] == f"It completed, but its outputs were lost: {lost}"
    assert outputs(world, ended["outputs"]["b"]) == {"3": b"there\n"}


def test_links_in_outputs_are_followed_to_files_inside_only(world: World):
    token = world.runner()
    secret = world.folder / "secret"
    secret.mkdir()
    (secret / "key").write_text("private")
    command = (
        f"cd outputs; echo best > a; ln -s a last; ln -s {secret}/key out; ln -s {secret} folder; ln -s ../../../.. up;"
        f"mkfifo pipe; ln -s nowhere dangling; ln -s . loop; rmdir {{{{output:o}}}}; ln -s {secret} {{{{output:o}}}}"
    )
    world.go(token, "e1-j1-1", command, outputs=[{"name": "o", "kind": "uri_folder"}])
    ended = world.control.ended("e1-j1-1")
    assert ended["cause"] == "completed"
    assert outputs(world, ended["outputs"]["default"]) == {"a": b"best\n", "last": b"best\n"}
    assert outputs(world, ended["outputs"]["o"]) == {}
    assert b"private" not in world.control.blobs.values()
    notes = world.control.log("e1-j1-1", "node0", "preparation.txt")
    assert "out is left out: it is a link that leads out of the output" in notes


@pytest.mark.parametrize(
    "path", ["../escaped", "/etc/escaped", "a/../../escaped", "a//b", "", ".", "a/./b", "x\0y", "n" * 300]
)
def test_a_snapshot_with_a_path_out_of_its_folder_is_refused(world: World, path: str):
    token = world.runner()
    snapshot = world.control.snapshot({path: b"x"})
    world.go(token, "e1-j1-1", "true", code={"snapshot": snapshot})
    ended = world.control.ended("e1-j1-1")
    assert ended["cause"] == "input"
    assert "is no path inside its folder" in ended["words"]
    assert not list(world.folder.rglob("escaped"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("files", [{"path": "../x", "sha256": "0" * 64}]),
        ("files", [{"path": "x", "sha256": "../../../etc/passwd"}]),
        ("inputs", [data("../x", "0" * 64)]),
        ("outputs", [{"name": "..", "kind": "uri_folder"}]),
        ("outputs", [{"name": "a/b", "kind": "uri_folder"}]),
        ("sockets", ["../x"]),
        ("code", {"snapshot": "../x"}),
        ("mode", "other"),
        ("command", None),
        ("environment_variables", {"A=B": "c"}),
    ],
)
def test_a_spec_with_a_bad_name_ends_before_anything_is_started(world: World, field: str, value: Any):
    token = world.runner()
    changes: dict[str, Any] = {"argv": ["true"]} if field == "command" else {field: value}
    world.go(token, "e1-j1-1", "true", **changes)
    assert world.control.ended("e1-j1-1")["cause"] == "input"


def test_an_input_that_the_control_plane_does_not_have_ends_the_run_in_words(world: World):
    token = world.runner()
    missing = manifest({"a": b"never stored"})
    world.go(token, "e1-j1-1", "true", code={"snapshot": world.control.keep(missing)})
    ended = world.control.ended("e1-j1-1")
    assert ended["cause"] == "input"
    assert "404 No such file." in ended["words"]


def test_the_tools_that_a_run_needs_are_files_by_their_path(world: World):
    token = world.runner()
    tool = world.control.keep(b"print('tool')")
    files = [{"path": "tools/t.py", "sha256": tool}]
    spec = make_spec(None, argv=["{{python}}", "{{file:tools/t.py}}"], files=files)
    world.control.want(token, {"e1-j1-1": {"phase": "go", "spec": spec}})
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    assert world.control.log("e1-j1-1") == "tool\n"


def test_sockets_have_short_paths_in_folders_of_ours(world: World):
    token = world.runner("e1-" + "a-very-long-allocation-key-" * 4)
    listen = (
        "import socket, os, time; s = socket.socket(socket.AF_UNIX); s.bind(os.environ['WHERE']);"
        "print('bound', flush=True); time.sleep(1000)"
    )
    world.go(
        token,
        "e1-j1-1",
        f'{{{{python}}}} -c "{listen}"',
        mode="service",
        sockets=["http"],
        environment_variables={"WHERE": "{{socket:http}}"},
    )
    world.control.wait(lambda: "bound" in world.control.log("e1-j1-1"))
    path = world.control.run("e1-j1-1")["sockets"]["http"].removeprefix("unix:")
    assert len(path) < 100
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
    world.control.want(token, {"e1-j1-1": None})
    world.control.wait(lambda: not os.path.exists(os.path.dirname(path)), words="its folder is deleted")
