"""Jobs through the client, on the real control plane and a real runner."""

from pathlib import Path
from typing import Any

import pytest
from tests.sdk.served import Served, eventually

from ultramarine.domain.errors import AlreadyExists, InvalidInput, NotFound, NotSignedIn
from ultramarine.domain.job import JobSpec
from ultramarine.sdk import Workspace
from ultramarine.sdk.connection import Connection
from ultramarine.sdk.http import Client
from ultramarine.sdk.jobs import Jobs
from ultramarine.sdk.names import job_name


def job(command: str, **more: Any) -> dict[str, Any]:
    return {"command": command, "environment": "minimal", "compute": "local"} | more


def text_of(workspace: Workspace, name: str) -> str:
    return "".join(
        e.data["text"] for e in workspace.jobs.stream(name) if e.kind == "log" and e.data["file"] == "std_log.txt"
    )


def test_a_job_is_created_followed_and_its_outputs_are_downloaded(workspace: Workspace, tmp_path: Path):
    (tmp_path / "train.py").write_text("print('trained'); open('outputs/model.txt', 'w').write('weights')")
    made = workspace.jobs.create(job("mkdir -p outputs && python train.py", code="."), folder=tmp_path)
    assert made["code"].startswith("snapshot:")
    assert text_of(workspace, made["name"]) == "trained\n"
    assert workspace.jobs.get(made["name"])["status"] == "Completed"
    files = {
        str(f.relative_to(tmp_path / "got")): f.read_text()
        for f in workspace.jobs.download(made["name"], tmp_path / "got")
    }
    assert files["named-outputs/default/model.txt"] == "weights"
    assert files["logs/attempt-1/rank-0/std_log.txt"] == "trained\n"


def test_the_next_attempt_begins_with_the_checkpoint_and_the_last_one_is_downloaded(
    workspace: Workspace, tmp_path: Path
):
    go_on = "cd $ULTRAMARINE_CHECKPOINT_DIR; cat step && echo 2 > step && exit; echo 1 > step; exit 1"
    outputs = {"checkpoint": {"type": "uri_folder"}}
    made = workspace.jobs.create(job("echo own > ${{outputs.checkpoint}}/x; " + go_on, retries=1, outputs=outputs))
    *_, end = workspace.jobs.stream(made["name"])
    assert (end.data["status"], workspace.jobs.get(made["name"])["attempt"]) == ("Completed", 2)
    assert text_of(workspace, made["name"]).endswith("1\n")
    [file] = workspace.jobs.download_checkpoint(made["name"], tmp_path)
    assert (file, file.read_text()) == (tmp_path / "checkpoint" / "step", "2\n")
    [own] = workspace.jobs.download(made["name"], tmp_path, output_name="checkpoint")
    assert (own, own.read_text()) == (tmp_path / "named-outputs" / "checkpoint" / "x", "own\n")


def test_a_failed_job_is_explained(workspace: Workspace):
    made = workspace.jobs.create(job("echo 'no such column' >&2; exit 3"))
    *_, end = workspace.jobs.stream(made["name"])
    assert (end.kind, end.data["status"]) == ("end", "Failed")
    failed = workspace.jobs.explain(made["name"])["failed"]
    assert (failed["cause"], failed["code"]) == ("exited", 3)
    assert "no such column" in failed["tail"]


def test_a_job_that_is_canceled_ends(workspace: Workspace):
    name = workspace.jobs.create(job("sleep 600"))["name"]
    eventually(lambda: workspace.jobs.get(name)["status"] == "Running", words="it runs")
    workspace.jobs.cancel(name)
    *_, end = workspace.jobs.stream(name)
    assert end.data["status"] == "Canceled"


def test_the_same_job_again_is_the_same_and_another_under_its_name_is_refused(workspace: Workspace):
    name = job_name()
    first = workspace.jobs.create(job("true", name=name))
    assert workspace.jobs.create(job("true", name=name))["id"] == first["id"]
    with pytest.raises(AlreadyExists) as refused:
        workspace.jobs.create(job("false", name=name))
    assert name in refused.value.hint


def test_a_specification_is_taken_as_it_is(workspace: Workspace):
    made = workspace.jobs.create(JobSpec(command="true", environment="minimal", compute="local"))
    assert made["command"] == "true"


def test_lists_go_over_all_pages(workspace: Workspace, server: Served):
    names = [workspace.jobs.create(job("true", experiment_name="pages"))["name"] for _ in range(5)]
    connection = Connection(url=server.url, token=server.token, workspace="default")
    jobs = Jobs(Client(connection, page_rows=2))
    for limit, expected in ((None, names[::-1]), (3, names[:1:-1]), (0, [])):
        assert [row["name"] for row in jobs.list(experiment_name="pages", limit=limit)] == expected


def test_errors_are_the_servers_own(workspace: Workspace, server: Served):
    with pytest.raises(NotFound, match="nothing-here") as missing:
        workspace.jobs.get("nothing-here")
    assert missing.value.hint
    with pytest.raises(NotSignedIn):
        Workspace(Connection(url=server.url, token="wrong", workspace="default")).jobs.get("a")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"comand": "x"}, "did you mean 'command'"),
        ({"code": "nowhere"}, "code: there is no file or folder"),
        (
            {"inputs": {"d": {"type": "uri_folder", "path": "a.txt"}}},
            r"inputs\.d\.path: .*a\.txt is a file, and the type is uri_folder",
        ),
        ({"inputs": {"d": {"type": "uri_file", "path": "https://x/y.csv"}}}, "https://x/y.csv is read by nobody yet"),
        ({"environment": {"conda_file": "no.yml"}}, r"no\.yml cannot be read"),
    ],
)
def test_what_is_wrong_with_a_job_is_said_before_anything_is_sent(tmp_path: Path, more: dict[str, Any], said: str):
    (tmp_path / "a.txt").write_text("a")
    nobody = Workspace(Connection(url="http://127.0.0.1:1", token="", workspace="default"))
    with pytest.raises(InvalidInput, match=said):
        nobody.jobs.create(job("true", **more), folder=tmp_path)


def test_names_are_made_of_two_words_and_are_names():
    made = {job_name() for _ in range(200)}
    assert len(made) == 200
    assert all(len(name.split("_")) == 3 and name.replace("_", "").isalnum() for name in made)
