"""Registered models, and the files behind them."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from ultramarine.domain.errors import AlreadyExists, InvalidInput, NotFound
from ultramarine.domain.page import PageRequest
from ultramarine.tracking.artifacts import ArtifactLocation
from ultramarine.tracking.client import MlflowClient
from ultramarine.tracking.registry import NewVersion

from .control_plane import ControlPlane

W = "team-a"


async def pieces(content: bytes, *, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def downloaded(client: MlflowClient, location: ArtifactLocation, *, workspace: str = W) -> bytes:
    return b"".join([piece async for piece in client.artifacts.download(workspace, location)])


@pytest.fixture
async def files(client: MlflowClient, control: ControlPlane, run_id: str) -> ArtifactLocation:
    """A folder among a run's artifacts with one file in it."""
    control.add(run_id, workspace=W)
    folder = (await client.runs.get(W, run_id)).artifacts / "model"
    await client.artifacts.upload(W, folder / "a.txt", pieces(b"a"))
    return folder


async def test_versions_count_up_and_the_latest_is_found(client: MlflowClient, files: ArtifactLocation, run_id: str):
    name = f"m-{run_id[:8]}"
    await client.registry.ensure(W, name)
    await client.registry.ensure(W, name)
    made = [
        await client.registry.create_version(W, name, NewVersion(location=files, description=d, tags={"n": d}))
        for d in "ab"
    ]
    assert [version.version for version in made] == [1, 2]
    latest = await client.registry.version(W, name, 2)
    assert (latest.version, latest.description, latest.tags) == (2, "b", {"n": "b"})
    assert latest.location.uri == files.uri
    assert latest.location.run_id == run_id
    assert [version.version for version in await client.registry.versions(W, name)] == [2, 1]
    assert [model.latest for model in await client.registry.models(W) if model.name == name] == [2]


async def test_pages_of_models_and_versions_are_walked_by_mlflows_cursors(
    client: MlflowClient, files: ArtifactLocation, run_id: str
):
    names = [f"page-{run_id[:8]}-{letter}" for letter in "abc"]
    for name in names:
        await client.registry.ensure("pages", name)
    await client.registry.ensure(W, names[0])
    for _ in range(3):
        await client.registry.create_version(W, names[0], NewVersion(location=files))
    seen: list[str] = []
    page = await client.registry.model_page("pages", PageRequest(limit=2))
    seen += [model.name for model in page.rows]
    assert page.next is not None
    page = await client.registry.model_page("pages", PageRequest(limit=2, after=page.next))
    assert ([*seen, *(model.name for model in page.rows)], page.next) == (names, None)
    first = await client.registry.version_page(W, names[0], PageRequest(limit=2))
    assert first.next is not None
    second = await client.registry.version_page(W, names[0], PageRequest(limit=2, after=first.next))
    assert [each.version for each in (*first.rows, *second.rows)] == [3, 2, 1]
    with pytest.raises(InvalidInput):
        await client.registry.model_page("pages", PageRequest(after="nonsense"))


async def test_many_registrations_at_once_get_numbers_of_their_own(
    client: MlflowClient, files: ArtifactLocation, run_id: str
):
    name = f"many-{run_id[:8]}"
    await client.registry.ensure(W, name)
    made = await asyncio.gather(
        *(client.registry.create_version(W, name, NewVersion(location=files)) for _ in range(6))
    )
    assert sorted(version.version for version in made) == [1, 2, 3, 4, 5, 6]


async def test_tags_and_description_of_a_version_change_and_go(
    client: MlflowClient, files: ArtifactLocation, run_id: str
):
    name = f"tags-{run_id[:8]}"
    await client.registry.create(W, name, description="a name")
    await client.registry.create_version(W, name, NewVersion(location=files, tags={"old": "1"}))
    await client.registry.set_version_tags(W, name, 1, tags={"old": None, "new": "2"})
    await client.registry.describe_version(W, name, 1, description="better")
    await client.registry.set_tags(W, name, tags={"team": "a"})
    version, model = await client.registry.version(W, name, 1), await client.registry.get(W, name)
    assert (version.tags, version.description) == ({"new": "2"}, "better")
    assert (model.tags, model.description) == ({"team": "a"}, "a name")


async def test_a_deleted_version_is_gone_and_its_number_too(client: MlflowClient, files: ArtifactLocation, run_id: str):
    name = f"gone-{run_id[:8]}"
    await client.registry.ensure(W, name)
    for _ in range(2):
        await client.registry.create_version(W, name, NewVersion(location=files))
    await client.registry.delete_version(W, name, 1)
    with pytest.raises(NotFound, match=f"{name}:1"):
        await client.registry.version(W, name, 1)
    assert (await client.registry.create_version(W, name, NewVersion(location=files))).version == 3
    await client.registry.delete(W, name)
    assert await client.registry.versions(W, name) == ()


async def test_what_is_not_there_is_not_found_and_a_taken_name_is_said(client: MlflowClient, run_id: str):
    with pytest.raises(NotFound, match="nosuch"):
        await client.registry.get(W, "nosuch")
    await client.registry.create(W, f"taken-{run_id}")
    with pytest.raises(AlreadyExists):
        await client.registry.create(W, f"taken-{run_id}")
    assert (await client.registry.get(W, f"taken-{run_id}")).latest is None


async def test_a_model_of_another_workspace_cannot_be_seen_or_registered(
    client: MlflowClient, files: ArtifactLocation, run_id: str
):
    name = f"theirs-{run_id[:8]}"
    for workspace in (W, "team-b"):
        await client.registry.ensure(workspace, name)
    await client.registry.create_version(W, name, NewVersion(location=files))
    assert await client.registry.versions("team-b", name) == ()
    with pytest.raises((NotFound, InvalidInput)):
        await client.registry.create_version("team-b", name, NewVersion(location=files))
    with pytest.raises(InvalidInput):
        await downloaded(client, files / "a.txt", workspace="team-b")


@pytest.mark.parametrize(
    "source", ["/etc", "file:///etc", "mlflow-artifacts:/workspaces/team-a/../team-b", "s3://elsewhere/x"]
)
async def test_a_source_outside_of_the_runs_own_files_is_refused(
    client: MlflowClient, files: ArtifactLocation, run_id: str, source: str
):
    await client.registry.ensure(W, f"source-{run_id[:8]}")
    outside = ArtifactLocation(uri=source, run_id=run_id)
    with pytest.raises(InvalidInput):
        await client.registry.create_version(W, f"source-{run_id[:8]}", NewVersion(location=outside))


async def test_a_model_uploaded_without_a_run_is_registered_byte_for_byte(client: MlflowClient, run_id: str):
    content = os.urandom(3 << 20)
    experiment_id = await client.runs.ensure_experiment(W, "models")
    model = await client.runs.create_logged_model(W, experiment_id=experiment_id, name="uploaded")
    for path in ("MLmodel", "data/weights ä+ 100%.bin", "data/deep/empty"):
        await client.artifacts.upload(W, model.location / path, pieces(content if "weights" in path else b""))
    await client.runs.finish_logged_model(W, model.id)
    assert (await client.runs.logged_model(W, model.id)).status == "LOGGED_MODEL_READY"
    assert await client.runs.resolve(W, f"models:/{model.id}") == model.location

    name = f"up-{run_id[:8]}"
    await client.registry.ensure(W, name)
    version = await client.registry.create_version(W, name, NewVersion(location=model.location))
    listed = await client.artifacts.files(W, version.location)
    assert [(file.path, file.size_bytes) for file in listed] == [
        ("MLmodel", 0),
        ("data/deep/empty", 0),
        ("data/weights ä+ 100%.bin", len(content)),
    ]
    assert await downloaded(client, version.location / "data/weights ä+ 100%.bin") == content


async def test_a_file_name_that_mlflow_would_change_is_refused(client: MlflowClient, files: ArtifactLocation):
    with pytest.raises(InvalidInput, match="escape"):
        await client.artifacts.upload(W, files / "a%41", pieces(b""))


async def test_an_upload_that_breaks_off_leaves_no_file(client: MlflowClient, files: ArtifactLocation):
    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        await client.artifacts.upload(W, files / "half.bin", breaking())
    assert [file.path for file in await client.artifacts.files(W, files)] == ["a.txt"]


async def test_a_reference_of_another_kind_is_refused(client: MlflowClient):
    with pytest.raises(InvalidInput, match="names no files"):
        await client.runs.resolve(W, "s3://bucket/model")
