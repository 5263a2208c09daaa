"""Data assets."""

from collections.abc import Mapping
from typing import Any

from ultramarine.domain.data import DataAsset, DataSpec
from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.names import checked_name
from ultramarine.domain.page import Page, PageRequest
from ultramarine.services import identity
from ultramarine.services.context import Context
from ultramarine.services.snapshots import get_snapshot, uploaded
from ultramarine.services.versions import version_to_make
from ultramarine.store import assets


async def create(
    ctx: Context, workspace: str, name: str, body: Mapping[str, Any], *, version: str | None = None
) -> tuple[DataAsset, bool]:
    """Register uploaded files under a name. The second value: whether it is new.

    Where neither `version` nor the body names a version, it is the next number.
    """
    checked_name("data asset", name)
    spec = DataSpec.read({**body, "name": name}, what=f"data {name}")
    snapshot = uploaded(ctx, spec.path, field="path")
    manifest = get_snapshot(ctx, snapshot)
    if spec.type == "uri_file" and manifest.kind != "file":
        raise InvalidInput(
            "path: it is a folder, and the type is uri_file.", hint="Name one file, or write type: uri_folder."
        )
    async with ctx.begin() as tx:
        await identity.require_workspace(tx, workspace)
        made = await assets.data_assets(tx, workspace, name)
        chosen, there = version_to_make(
            "data asset",
            name,
            made,
            wanted=version or spec.version,
            is_same=lambda d: (d.snapshot, d.spec.type) == (snapshot, spec.type),
        )
        if there is not None:
            return there, False
        data = DataAsset(
            workspace=workspace,
            name=name,
            version=chosen,
            spec=spec,
            snapshot=snapshot,
            size_bytes=manifest.size_bytes,
            created_at=ctx.clock(),
        )
        await assets.add_data(tx, data)
    return data, True


async def get(ctx: Context, workspace: str, name: str, version: str | None) -> DataAsset:
    async with ctx.read() as tx:
        return await assets.data(tx, workspace, name, version)


async def page(ctx: Context, workspace: str, request: PageRequest, *, name: str = "") -> Page[DataAsset]:
    """The newest version of each, or every version of one."""
    async with ctx.read() as tx:
        await identity.require_workspace(tx, workspace)
        return await assets.data_page(tx, workspace, request, name=name)
