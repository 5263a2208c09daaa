"""Data assets."""

from collections.abc import Mapping, Sequence
from typing import Any

from ultramarine.domain.data import DataAsset, DataSpec
from ultramarine.domain.errors import AlreadyExists, InvalidInput
from ultramarine.domain.names import checked_name
from ultramarine.services import identity
from ultramarine.services.context import Context
from ultramarine.services.snapshots import get_snapshot, uploaded
from ultramarine.store import assets


async def create(
    ctx: Context, workspace: str, name: str, version: str | None, body: Mapping[str, Any]
) -> tuple[DataAsset, bool]:
    """Register uploaded files under a name. Without a version: the next number. The second value: whether it is new."""
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
        there = {d.version: d for d in await assets.data_assets(tx, workspace, name)}
        number = max((int(v) for v in there if v.isdigit()), default=0) + 1
        chosen = checked_name("version", version or spec.version or str(number))
        if (same := there.get(chosen)) is not None:
            if (same.snapshot, same.spec.type) != (snapshot, spec.type):
                raise AlreadyExists(
                    "data asset",
                    f"{name}:{chosen}",
                    hint="A version never changes: leave out the version to make the next one.",
                )
            return same, False
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


async def versions(ctx: Context, workspace: str, name: str | None = None) -> Sequence[DataAsset]:
    async with ctx.read() as tx:
        await identity.require_workspace(tx, workspace)
        return await assets.data_assets(tx, workspace, name)
