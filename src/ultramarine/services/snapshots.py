"""Files that clients and runners send: blobs and the manifests that name them."""

import hashlib
from collections.abc import AsyncIterator

from ultramarine.domain.data import SNAPSHOT
from ultramarine.domain.errors import Conflict, InvalidInput, NotFound
from ultramarine.domain.names import is_sha256
from ultramarine.files import snapshots
from ultramarine.services.context import Context


def put_snapshot(ctx: Context, sha256: str, content: bytes) -> list[str]:
    """Keep a manifest whose blobs are all there; else the blobs that are missing, and nothing is kept."""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Conflict(f"The manifest sent is not {sha256}.", hint="Name it by the SHA-256 of its bytes.")
    manifest = snapshots.parse(content)
    missing = ctx.blobs.missing(entry.sha256 for entry in manifest.files)
    if not missing:
        ctx.blobs.put(content)
    return missing


def get_snapshot(ctx: Context, sha256: str) -> snapshots.Manifest:
    return snapshots.parse(ctx.blobs.read(sha256))


async def put_blob(ctx: Context, sha256: str, chunks: AsyncIterator[bytes]) -> bool:
    return await ctx.blobs.receive(sha256, chunks, bytes_max=ctx.site.limits.upload_bytes_max)


def uploaded(ctx: Context, path: str, *, field: str) -> str:
    """The hash of the snapshot that `snapshot:<sha256>` names; an error that names `field` when it is not here."""
    sha256 = path.removeprefix(SNAPSHOT)
    if not path.startswith(SNAPSHOT) or not is_sha256(sha256):
        raise InvalidInput(
            f"{field}: {path[:200]!r} is a path of your machine; the server cannot read it.",
            hint="Use the um command or the SDK, which upload it; "
            "over REST send snapshot:<sha256> of an uploaded snapshot.",
        )
    if not ctx.blobs.has(sha256):
        raise NotFound("snapshot", sha256, hint=f"{field} names it; upload it first.")
    return sha256
