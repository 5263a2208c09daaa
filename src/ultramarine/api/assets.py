"""Environments and data assets: both are named, versioned, and never change."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from ultramarine.api import created, views
from ultramarine.api.access import Ctx, Reader, Worker
from ultramarine.services import data, environments

router = APIRouter(prefix="/api/v1/workspaces/{workspace}", tags=["assets"])
AssetBody = Annotated[dict[str, Any], Body()]


def _version(version: str) -> str | None:
    return None if version == "latest" else version


@router.put("/environments/{name}/versions/{version}", status_code=201)
async def put_environment(
    workspace: str, name: str, version: str, body: AssetBody, ctx: Ctx, _: Worker, response: Response
) -> views.View:
    environment, is_new = await environments.create(ctx, workspace, name, body, version=version)
    created.answer(response, is_new=is_new)
    return views.environment(environment)


@router.post("/environments/{name}/versions", status_code=201)
async def create_environment(workspace: str, name: str, body: AssetBody, ctx: Ctx, _: Worker) -> views.View:
    """A new version, numbered by the server where the body names none."""
    environment, _new = await environments.create(ctx, workspace, name, body)
    return views.environment(environment)


@router.get("/environments")
async def list_environments(workspace: str, ctx: Ctx, _: Reader) -> views.View:
    """The newest version of each, the curated ones too."""
    newest = {e.name: e for e in await environments.versions(ctx, workspace)}
    return views.listed([views.environment(e) for e in newest.values()])


@router.get("/environments/{name}/versions")
async def list_environment_versions(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    return views.listed([views.environment(e) for e in await environments.versions(ctx, workspace, name)])


@router.get("/environments/{name}/versions/{version}")
async def get_environment(workspace: str, name: str, version: str, ctx: Ctx, _: Reader) -> views.View:
    return views.environment(await environments.get(ctx, workspace, name, _version(version)))


@router.put("/data/{name}/versions/{version}", status_code=201)
async def put_data(
    workspace: str, name: str, version: str, body: AssetBody, ctx: Ctx, _: Worker, response: Response
) -> views.View:
    asset, is_new = await data.create(ctx, workspace, name, body, version=version)
    created.answer(response, is_new=is_new)
    return views.data(asset)


@router.post("/data/{name}/versions", status_code=201)
async def create_data(workspace: str, name: str, body: AssetBody, ctx: Ctx, _: Worker) -> views.View:
    """A new version, numbered by the server where the body names none."""
    asset, _new = await data.create(ctx, workspace, name, body)
    return views.data(asset)


@router.get("/data")
async def list_data(workspace: str, ctx: Ctx, _: Reader) -> views.View:
    newest = {d.name: d for d in await data.versions(ctx, workspace)}
    return views.listed([views.data(d) for d in newest.values()])


@router.get("/data/{name}/versions")
async def list_data_versions(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    return views.listed([views.data(d) for d in await data.versions(ctx, workspace, name)])


@router.get("/data/{name}/versions/{version}")
async def get_data(workspace: str, name: str, version: str, ctx: Ctx, _: Reader) -> views.View:
    return views.data(await data.get(ctx, workspace, name, _version(version)))
