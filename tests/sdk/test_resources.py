"""Computes, assets, tokens, events and workspaces through the client, on the real control plane."""

from pathlib import Path

import pytest
from tests.sdk.served import Served

from ultramarine.domain.errors import InvalidInput, NotFound, NotSignedIn
from ultramarine.sdk import Workspace
from ultramarine.sdk.connection import Connection
from ultramarine.sdk.names import job_name


def test_a_cluster_is_created_changed_listed_and_deleted(workspace: Workspace):
    made = workspace.computes.create_or_update(
        {"name": "c1", "type": "amlcompute", "size": "cpu-1", "max_instances": 2}
    )
    assert (made["provisioning_state"], made["size_used"]) == ("Succeeded", "cpu-1")
    assert workspace.computes.update("c1", {"max_instances": 3})["max_instances"] == 3
    assert {"local", "c1"} <= {row["name"] for row in workspace.computes.list()}
    assert list(workspace.computes.nodes("c1")) == []
    workspace.computes.delete("c1")
    workspace.computes.wait_gone("c1")
    with pytest.raises(NotFound):
        workspace.computes.get("c1")


def test_sizes_and_usage_are_shown(workspace: Workspace):
    assert {"cpu-1"} <= {row["name"] for row in workspace.computes.sizes()}
    assert {"cpus", "memory_bytes"} <= {row["name"] for row in workspace.computes.usage()}


def test_data_is_uploaded_numbered_and_downloaded(workspace: Workspace, tmp_path: Path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    given = {"name": job_name(), "type": "uri_file", "path": "a.csv"}
    first = workspace.data.create_or_update(given, folder=tmp_path)
    (tmp_path / "a.csv").write_text("x\n2\n")
    second = workspace.data.create_or_update(given, folder=tmp_path)
    assert [first["version"], second["version"]] == ["1", "2"]
    assert workspace.data.get(given["name"])["version"] == "2"
    assert [row["version"] for row in workspace.data.list(given["name"])] == ["2", "1"], "the newest first"
    (file,) = workspace.data.download(given["name"], "1", tmp_path / "got")
    assert file.read_text() == "x\n1\n"


def test_a_named_version_is_kept(workspace: Workspace, tmp_path: Path):
    (tmp_path / "a.csv").write_text("x")
    given = {"name": job_name(), "version": 7, "type": "uri_file", "path": str(tmp_path / "a.csv")}
    assert workspace.data.create_or_update(given)["version"] == "7"


def test_an_environment_is_sent_with_the_content_of_its_files(workspace: Workspace, tmp_path: Path):
    (tmp_path / "requirements.txt").write_text("# nothing\n\n")
    made = workspace.environments.create_or_update(
        {"name": job_name(), "requirements": "./requirements.txt"}, folder=tmp_path
    )
    assert (made["requirements"], made["version"]) == ([], "1")
    assert workspace.environments.wait(made["name"], "1")["status"] == "Succeeded"
    assert "minimal" in {row["name"] for row in workspace.environments.list()}


def test_an_asset_without_a_name_is_refused(workspace: Workspace):
    with pytest.raises(InvalidInput, match="has no name"):
        workspace.environments.create_or_update({"requirements": []})


def test_a_token_is_good_until_it_is_revoked(workspace: Workspace, server: Served):
    made = workspace.tokens.create("ada", role="reader", workspace="default")
    ada = Workspace(Connection(url=server.url, token=made["token"], workspace="default"))
    assert "local" in {row["name"] for row in ada.computes.list()}
    assert made["id"] in {row["id"] for row in workspace.tokens.list()}
    workspace.tokens.delete(made["id"])
    with pytest.raises(NotSignedIn):
        list(ada.computes.list())


def test_a_workspace_is_made_and_its_things_are_its_own(workspace: Workspace, server: Served):
    workspace.workspaces.create_or_update("vision", description="Pictures")
    assert workspace.workspaces.get("vision")["description"] == "Pictures"
    assert {"default", "vision"} <= {row["name"] for row in workspace.workspaces.list()}
    assert list(server.workspace("vision").jobs.list()) == []


def test_events_tell_what_happened_in_order(workspace: Workspace):
    name = workspace.jobs.create({"command": "true", "environment": "minimal", "compute": "local"})["name"]
    list(workspace.jobs.stream(name))
    told = list(workspace.events.list(noun="job", name=name))
    assert [event["status"] for event in told][-1] == "Completed"
    assert [event["seq"] for event in told] == sorted(event["seq"] for event in told)
    streamed = next(workspace.events.stream(noun="job", after=told[0]["seq"] - 1))
    assert (streamed.data["name"], streamed.data["seq"]) == (name, told[0]["seq"])
