"""What is made at the first start and brought up to date at each.

The installation's row, the default workspace, the owner's token, curated environments.
"""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ultramarine import curated
from ultramarine.controllers.environments import keep
from ultramarine.domain.environment import Environment, EnvironmentSpec, EnvironmentStatus
from ultramarine.domain.errors import InvalidInput, NotFound
from ultramarine.domain.identity import DEFAULT_WORKSPACE, EVERY_WORKSPACE, Role, Token
from ultramarine.domain.names import Epoch
from ultramarine.locks.lock import Lock
from ultramarine.private import write_private
from ultramarine.services import identity
from ultramarine.services.context import Context
from ultramarine.services.secrets import new_epoch, new_token, sha256_of
from ultramarine.store import assets, hosts, installation
from ultramarine.store.database import Database

log = logging.getLogger(__name__)


async def epoch_of(db: Database) -> Epoch:
    """The installation's epoch, made when the database is new."""
    async with db.begin() as tx:
        if (there := await installation.epoch(tx)) is not None:
            return there
        made = new_epoch()
        await installation.found(tx, made, now=datetime.now(UTC))
        return made


async def begin(ctx: Context, home: Path) -> None:
    """Make what is missing. May be interrupted and repeated anywhere."""
    async with ctx.begin() as tx:
        for host in (ctx.site.machine, *ctx.site.clusters.values()):
            await hosts.put(tx, host)
        if await installation.workspace(tx, DEFAULT_WORKSPACE) is None:
            await identity.found_workspace(tx, ctx, DEFAULT_WORKSPACE, identity.WorkspaceSpec(), now=ctx.clock())
    await _owner(ctx, home / "connection.json")
    await _curated(ctx)
    write_private(home / "run" / "internal.secret", ctx.secrets.of("internal"))


async def _owner(ctx: Context, path: Path) -> None:
    """The owner's token lies in the home, readable by its owner alone: whoever may read it is the owner."""
    known = {
        "url": ctx.site.address,
        "second_url": ctx.site.second_address,
        "instances_url": ctx.site.instances_address,
    }
    there = _read(path)
    async with ctx.begin() as tx:
        token = await installation.find_token(tx, sha256_of(there.get("token", "")))
        if token is None or not token.is_valid(ctx.clock()):
            there["token"] = new_token()
            owner = Token(
                id=ctx.names()[:12], subject="owner", workspace=EVERY_WORKSPACE, role=Role.OWNER, created_at=ctx.clock()
            )
            await installation.add_token(tx, owner, sha256=sha256_of(there["token"]))
        write_private(path, json.dumps({**there, **known}))


async def _curated(ctx: Context) -> None:
    """Every curated environment in the version that this release ships.

    Older versions stay for what was made with them.
    """
    for each in curated.load().values():
        for environment in _environments(ctx, each):
            async with ctx.begin() as tx:
                try:
                    await assets.environment(tx, environment.workspace, environment.name, environment.version)
                except NotFound:
                    await assets.add_environment(tx, environment)


def _environments(ctx: Context, each: curated.Curated) -> Iterator[Environment]:
    """For users one, with the Python that suits it best; of ours one for each Python: it joins others' environments.

    One that this machine has no Python for is left out, until a start that finds one; who names it is told so.
    """
    if not each.is_internal:
        try:
            yield _environment(ctx, each, *each.locks(ctx.site.pythons, platform=ctx.site.platform))
        except InvalidInput as refused:
            log.info("the environment %s is left out: %s", each.name, refused)
        return
    for python in each.pythons:
        if python in ctx.site.pythons:
            yield _environment(ctx, each, each.lock(python=python, platform=ctx.site.platform))


def _environment(ctx: Context, each: curated.Curated, lock: Lock, *others: Lock) -> Environment:
    spec = EnvironmentSpec(
        name=each.name,
        version=each.version,
        requirements=list(each.requirements),
        python=lock.python,
        description=each.description,
    )
    return Environment(
        workspace=assets.INTERNAL if each.is_internal else assets.CURATED,
        name=f"{each.name}-{lock.python}" if each.is_internal else each.name,
        version=each.version,
        spec=spec,
        locked=keep(ctx, lock, *others),
        is_curated=True,
        status=EnvironmentStatus.SUCCEEDED,
        created_at=ctx.clock(),
    )


def _read(path: Path) -> dict[str, str]:
    return json.loads(path.read_text()) if path.exists() else {}
