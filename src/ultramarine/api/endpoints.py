"""Online endpoints and deployments."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from ultramarine.api import created, endpoint_views, views
from ultramarine.api.access import Ctx, Reader, Worker
from ultramarine.api.paging import Paging
from ultramarine.api.reached import ReachedAt
from ultramarine.services import deployments, endpoints

router = APIRouter(prefix="/api/v1/workspaces/{workspace}/online-endpoints", tags=["online endpoints"])
AnyBody = Annotated[dict[str, Any], Body()]


class KeyType(BaseModel):
    key_type: str


@router.put("/{name}", status_code=201)
async def put_endpoint(
    workspace: str, name: str, body: AnyBody, ctx: Ctx, _: Worker, response: Response, reached: ReachedAt
) -> views.View:
    """Create an endpoint (201), or change the one that is there (200); the gateway goes by it when this is answered."""
    state, is_new = await endpoints.put(ctx, workspace, name, body)
    await endpoints.in_effect(ctx)
    created.answer(response, is_new=is_new)
    return endpoint_views.endpoint(state, reached.address)


@router.patch("/{name}")
async def update_endpoint(
    workspace: str, name: str, body: AnyBody, ctx: Ctx, _: Worker, reached: ReachedAt
) -> views.View:
    """Change some of its fields; the gateway goes by them when this is answered."""
    state = await endpoints.update(ctx, workspace, name, body)
    await endpoints.in_effect(ctx)
    return endpoint_views.endpoint(state, reached.address)


@router.get("")
async def list_endpoints(workspace: str, ctx: Ctx, _: Reader, paging: Paging, reached: ReachedAt) -> views.View:
    found = await endpoints.page(ctx, workspace, paging)
    return views.listed(found.map(lambda state: endpoint_views.endpoint(state, reached.address)))


@router.get("/{name}")
async def get_endpoint(workspace: str, name: str, ctx: Ctx, _: Reader, reached: ReachedAt) -> views.View:
    return endpoint_views.endpoint(await endpoints.get(ctx, workspace, name), reached.address)


@router.delete("/{name}", status_code=202)
async def delete_endpoint(workspace: str, name: str, ctx: Ctx, _: Worker, reached: ReachedAt) -> views.View:
    """The address is gone at once, the deployments behind it end in their time."""
    state = await endpoints.delete(ctx, workspace, name)
    await endpoints.in_effect(ctx)
    return endpoint_views.endpoint(state, reached.address)


@router.get("/{name}/credentials")
async def get_credentials(workspace: str, name: str, ctx: Ctx, _: Worker) -> views.View:
    """Both keys; with `auth_mode: aml_token` a token, and until when it is good."""
    return endpoint_views.credentials(await endpoints.credentials(ctx, workspace, name))


@router.post("/{name}/regenerate-keys")
async def regenerate_keys(workspace: str, name: str, body: KeyType, ctx: Ctx, _: Worker) -> views.View:
    """A new key of one type; the other goes on being good. Tokens of before a new primary key end."""
    await endpoints.regenerate_key(ctx, workspace, name, body.key_type)
    await endpoints.in_effect(ctx)
    return endpoint_views.credentials(await endpoints.credentials(ctx, workspace, name))


@router.put("/{endpoint}/deployments/{name}", status_code=201)
async def put_deployment(
    workspace: str, endpoint: str, name: str, body: AnyBody, ctx: Ctx, _: Worker, response: Response
) -> views.View:
    """Create a deployment (201), or change the one that is there (200); `provisioning_state` tells how it goes on.

    `notice` is what its user should know: that another environment stands for the one it names.
    """
    state, is_new = await deployments.put(ctx, workspace, endpoint, name, body=body)
    created.answer(response, is_new=is_new)
    return endpoint_views.deployment(state) | {"notice": state.notice}


@router.patch("/{endpoint}/deployments/{name}")
async def update_deployment(workspace: str, endpoint: str, name: str, body: AnyBody, ctx: Ctx, _: Worker) -> views.View:
    return endpoint_views.deployment(await deployments.update(ctx, workspace, endpoint, name, changes=body))


@router.get("/{endpoint}/deployments")
async def list_deployments(workspace: str, endpoint: str, ctx: Ctx, _: Reader, paging: Paging) -> views.View:
    return views.listed(
        (await deployments.page(ctx, workspace, endpoint, request=paging)).map(endpoint_views.deployment)
    )


@router.get("/{endpoint}/deployments/{name}")
async def get_deployment(workspace: str, endpoint: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    return endpoint_views.deployment(await deployments.get(ctx, workspace, endpoint, name))


@router.delete("/{endpoint}/deployments/{name}", status_code=202)
async def delete_deployment(workspace: str, endpoint: str, name: str, ctx: Ctx, _: Worker) -> views.View:
    return endpoint_views.deployment(await deployments.delete(ctx, workspace, endpoint, name))


@router.get("/{endpoint}/deployments/{name}/logs")
async def read_deployment_log(
    workspace: str,
    endpoint: str,
    name: str,
    ctx: Ctx,
    _: Reader,
    tail: Annotated[int, Query(ge=1, le=100_000)] = 100,
    replica: Annotated[int | None, Query(ge=1)] = None,
) -> PlainTextResponse:
    """The last lines of one replica's log, or of the newest one's; `x-ultramarine-replica` tells its number."""
    found = await deployments.logs(ctx, workspace, endpoint, name, replica=replica, lines=tail)
    if found is None:
        return PlainTextResponse("")
    return PlainTextResponse(found.text, headers={"x-ultramarine-replica": str(found.replica)})
