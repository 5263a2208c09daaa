"""Environments, data assets and models: named and versioned. One set of routes, made for each of them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypeVar

from fastapi import APIRouter, Body, Response

from ultramarine.api import created, views
from ultramarine.api.access import Ctx, Reader, Worker
from ultramarine.api.paging import Paging
from ultramarine.domain.page import Page, PageRequest
from ultramarine.services import data, environments, models
from ultramarine.services.context import Context

AssetBody = Annotated[dict[str, Any], Body()]
A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)


class Pages(Protocol[A]):
    def __call__(self, ctx: Context, workspace: str, request: PageRequest, *, name: str = "") -> Awaitable[Page[A]]: ...


class Creates(Protocol[A_co]):
    def __call__(
        self, ctx: Context, workspace: str, name: str, body: Mapping[str, Any], *, version: str | None = None
    ) -> Awaitable[tuple[A_co, bool]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[A]):
    """What the routes of one noun call. `create` gives also whether it is new; without a version it is the next."""

    page: Pages[A]
    get: Callable[[Context, str, str, str | None], Awaitable[A]]
    create: Creates[A]
    view: Callable[[A], views.View]
    can_put: bool = True  #: the same version again is the same thing


def _routes(plural: str, kind: Kind[A]) -> APIRouter:
    router = APIRouter(prefix=f"/api/v1/workspaces/{{workspace}}/{plural}", tags=[plural])

    @router.get("")
    async def list_newest(workspace: str, ctx: Ctx, _: Reader, paging: Paging) -> views.View:
        """The newest version of each, by name; of environments the curated ones too."""
        return views.listed((await kind.page(ctx, workspace, paging)).map(kind.view))

    @router.get("/{name}/versions")
    async def list_versions(workspace: str, name: str, ctx: Ctx, _: Reader, paging: Paging) -> views.View:
        """Every version of one, the newest first."""
        return views.listed((await kind.page(ctx, workspace, paging, name=name)).map(kind.view))

    @router.get("/{name}/versions/{version}")
    async def get_version(workspace: str, name: str, version: str, ctx: Ctx, _: Reader) -> views.View:
        """A version; `latest` is the newest."""
        return kind.view(await kind.get(ctx, workspace, name, None if version == "latest" else version))

    @router.post("/{name}/versions", status_code=201)
    async def create_version(workspace: str, name: str, body: AssetBody, ctx: Ctx, _: Worker) -> views.View:
        """A new version, numbered by the server where the body names none."""
        asset, _new = await kind.create(ctx, workspace, name, body)
        return kind.view(asset)

    if kind.can_put:
        _add_put(router, kind)
    return router


def _add_put(router: APIRouter, kind: Kind[A]) -> None:
    @router.put("/{name}/versions/{version}", status_code=201)
    async def put_version(
        workspace: str, name: str, version: str, body: AssetBody, ctx: Ctx, _: Worker, response: Response
    ) -> views.View:
        """The version of that name: made (201), or there already with the same content (200)."""
        asset, is_new = await kind.create(ctx, workspace, name, body, version=version)
        created.answer(response, is_new=is_new)
        return kind.view(asset)


_ENVIRONMENTS = Kind(page=environments.page, get=environments.get, create=environments.create, view=views.environment)
_DATA = Kind(page=data.page, get=data.get, create=data.create, view=views.data)
_MODELS = Kind(page=models.page, get=models.get, create=models.create, view=views.model, can_put=False)
routers = (_routes("environments", _ENVIRONMENTS), _routes("data", _DATA), _routes("models", _MODELS))
