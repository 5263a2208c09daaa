"""Environments: created as wanted, locked by a loop."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from packaging.version import Version

from ultramarine import curated
from ultramarine.domain.azure_environments import environment_reference, is_azures, ours_for
from ultramarine.domain.conda import Wanted, choose_python, from_conda, from_requirements
from ultramarine.domain.environment import Accelerator, Environment, EnvironmentSpec, EnvironmentStatus
from ultramarine.domain.errors import Conflict, NotFound, UltramarineError, Unavailable
from ultramarine.domain.names import checked_name
from ultramarine.domain.page import Page, PageRequest
from ultramarine.domain.run import Run
from ultramarine.locks.errors import NoWheel, Unsolvable
from ultramarine.locks.lock import Lock, Uv, read_lock, resolve
from ultramarine.services import identity
from ultramarine.services.context import CHECKS_MAX, Context
from ultramarine.services.versions import next_number, version_to_make
from ultramarine.store import assets, computes
from ultramarine.store.database import Tx

# Together less than a client waits for an answer.
TURN_S_MAX = 10.0  #: until fewer are checked
CHECK_S_MAX = 30.0
OTHER_PYTHONS_S_MAX = 10.0  #: to see whether another Python would do


async def create(
    ctx: Context, workspace: str, name: str, body: Mapping[str, Any], *, version: str | None = None
) -> tuple[Environment, bool]:
    """Keep what is wanted, to be locked at once by the loop. The second value: whether it is new.

    Where neither `version` nor the body names a version, it is the next number.
    """
    checked_name("environment", name)
    spec = EnvironmentSpec.read({**body, "name": name}, what=f"environment {name}")
    wanted(spec, pythons=ctx.site.pythons)
    async with ctx.begin() as tx:
        await identity.require_workspace(tx, workspace)
        made = [e for e in await assets.environments(tx, workspace, name) if not e.is_curated]
        chosen, there = version_to_make(
            "environment",
            name,
            made,
            wanted=version or spec.version,
            is_same=lambda e: _content(e.spec) == _content(spec),
        )
        if there is not None:
            return there, False
        environment = Environment(workspace=workspace, name=name, version=chosen, spec=spec, created_at=ctx.clock())
        await assets.add_environment(tx, environment)
    ctx.ring(ctx.locking)
    return environment, True


def wanted(spec: EnvironmentSpec, *, pythons: Sequence[str]) -> tuple[Wanted, str]:
    """What is to be installed, and for which Python (x.y). Raises for what cannot be, naming what is in the way."""
    found = from_conda(spec.conda_file) if spec.conda_file is not None else from_requirements(spec.requirements or ())
    if spec.python is not None:
        found = replace(found, python=f"=={spec.python}.*")
    return found, choose_python(found, pythons, preferred=pythons[0])


async def for_run(ctx: Context, tx: Tx, workspace: str, given: str | EnvironmentSpec, *, field: str) -> Environment:
    """The environment that a job or deployment names.

    An inline one becomes an asset of its own, named by its content.
    """
    if isinstance(given, str):
        return await _named(ctx, tx, workspace, given, field=field)
    wanted(given, pythons=ctx.site.pythons)
    name = f"inline-{hashlib.sha256(json.dumps(_content(given), sort_keys=True).encode()).hexdigest()[:16]}"
    there = await assets.environments(tx, workspace, name)
    if there and there[-1].status is not EnvironmentStatus.FAILED:
        return there[-1]
    environment = Environment(
        workspace=workspace, name=name, version=next_number(there), spec=given, created_at=ctx.clock()
    )
    await assets.add_environment(tx, environment)
    return environment


async def _named(ctx: Context, tx: Tx, workspace: str, given: str, *, field: str) -> Environment:
    """One that is there; for one of Azure ML's that is not, the curated one which stands for it."""
    reference = environment_reference(given, field=field)
    if not is_azures(reference.name):
        return await _there(ctx, tx, workspace, reference.name, reference.version)
    known = {e.name for e in await assets.environments(tx, workspace)}
    if reference.name in known:  # somebody has made one of that name
        return await _there(ctx, tx, workspace, reference.name, reference.version)
    if (ours := ours_for(reference.name)) is None:
        raise NotFound(
            "environment",
            reference.name,
            known=known,
            hint="Nothing stands for this one of Azure ML's here. Name one of these, or make one of its name: "
            f"um environment create --name {reference.name} --conda-file environment.yml",
        )
    return await _there(ctx, tx, assets.CURATED, ours, None)


def notice(given: str | EnvironmentSpec, found: Environment, *, field: str) -> str:
    """What to tell who named an environment: that another one stands for it. Else nothing."""
    if not isinstance(given, str) or environment_reference(given, field=field).name == found.name:
        return ""
    return f"{field}: {given} is {found.name}:{found.version} here."


async def _there(ctx: Context, tx: Tx, workspace: str, name: str, version: str | None) -> Environment:
    """Raises NotFound, or for a curated one that cannot be on this machine, why it is not."""
    try:
        return await assets.environment(tx, workspace, name, version)
    except NotFound:
        one = curated.load().get(name)
        if one is not None and not one.is_internal:
            one.locks(ctx.site.pythons, platform=ctx.site.platform)
        raise


def internal(name: str) -> dict[str, Any]:
    """What a run's description says of a curated environment that users do not see."""
    return {"workspace": assets.INTERNAL, "name": name, "version": curated.load()[name].version}


async def of_run(tx: Tx, run: Run, named: Mapping[str, str]) -> Environment:
    """The one that a run's description names, locked as where the run runs: by what it has, or else its whole node."""
    found = await assets.environment(tx, named["workspace"], named["name"], named["version"])
    if found.locked is None or not found.locked.others:
        return found
    amount = run.need or await computes.size_of(tx, run.compute)
    return replace(found, locked=found.locked.on(Accelerator.of(amount)))


async def lock(ctx: Context, spec: EnvironmentSpec, *, timeout_s: float) -> Lock:
    """Exact packages for what is wanted. Raises for what cannot be, naming what is in the way, and `Unavailable`."""
    if ctx.uv is None:
        raise Unavailable("This server has no uv, which finds packages that fit together.", hint="pip install uv")
    what, python = wanted(spec, pythons=ctx.site.pythons)
    try:
        return await resolve(what, python=python, platform=ctx.site.platform, uv=ctx.uv, timeout_s=timeout_s)
    except Unsolvable as refused:
        if isinstance(refused, NoWheel) or "Python" in str(refused):
            others = sorted((each for each in ctx.site.pythons if each != python), key=Version, reverse=True)
            if other := await _one_that_does(what, others, uv=ctx.uv, platform=ctx.site.platform):
                refused.hint = (
                    f"It can be made for Python {other}, which is there too: `python={other}` in a conda file, "
                    f'`python: "{other}"` beside requirements. Or else: {refused.hint}'
                )
        raise


async def _one_that_does(what: Wanted, pythons: Sequence[str], *, uv: Uv, platform: str) -> str | None:
    """The first of these Pythons for which it can be made, as far as that is seen in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(OTHER_PYTHONS_S_MAX):
            for python in pythons:
                with contextlib.suppress(UltramarineError):
                    await resolve(what, python=python, platform=platform, uv=uv, timeout_s=OTHER_PYTHONS_S_MAX)
                    return python
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What is in an environment, or would be."""

    name: str
    version: str
    lock: Lock
    accelerators: tuple[Accelerator, ...] = (Accelerator.CPU,)  #: those that it has a lock of its own for


async def check(ctx: Context, workspace: str, body: Mapping[str, Any]) -> Packages:
    """What would be in an environment of this body. Nothing is kept. Raises as `lock` does."""
    spec = EnvironmentSpec.read(body, what="the environment")
    async with ctx.read() as tx:
        await identity.require_workspace(tx, workspace)
    async with _turn(ctx):
        made = await lock(ctx, spec, timeout_s=CHECK_S_MAX)
    return Packages(name=spec.name or "", version=spec.version or "", lock=made)


@contextlib.asynccontextmanager
async def _turn(ctx: Context) -> AsyncGenerator[None]:
    """Wait until fewer are checked. Raises `Unavailable` where that takes long."""
    try:
        await asyncio.wait_for(ctx.checking.acquire(), TURN_S_MAX)
    except TimeoutError:
        raise Unavailable(
            f"{CHECKS_MAX} environments are being checked, and none of them was done within {TURN_S_MAX:g} s.",
            hint="Try again in a minute.",
        ) from None
    try:
        yield
    finally:
        ctx.checking.release()


async def packages(
    ctx: Context, workspace: str, name: str, version: str | None, *, accelerator: Accelerator = Accelerator.CPU
) -> Packages:
    """What is in an environment where a run has such an accelerator.

    Raises `Conflict` for one that is not resolved, or cannot be.
    """
    found = await get(ctx, workspace, name, version)
    if found.locked is None:
        words = f"Environment {name}:{found.version} is {found.status.value}: its packages are not known."
        raise Conflict(
            f"{words} {found.reason}".strip(),
            hint=f"um environment show -n {name} -v {found.version}",
        )
    locked = found.locked.on(accelerator)
    text, platform = ctx.blobs.read(locked.lock).decode(), ctx.site.platform
    return Packages(
        name=found.name,
        version=found.version,
        lock=read_lock(text, python=locked.python, platform=platform, accelerator=locked.accelerator),
        accelerators=tuple(found.locked.by_accelerator),
    )


async def get(ctx: Context, workspace: str, name: str, version: str | None) -> Environment:
    async with ctx.read() as tx:
        return await _there(ctx, tx, workspace, name, version)


async def page(ctx: Context, workspace: str, request: PageRequest, *, name: str = "") -> Page[Environment]:
    """The newest version of each, or every version of one."""
    async with ctx.read() as tx:
        await identity.require_workspace(tx, workspace)
        return await assets.environment_page(tx, workspace, request, name=name)


def _content(spec: EnvironmentSpec) -> dict[str, Any]:
    return {k: v for k, v in spec.body().items() if k in ("conda_file", "requirements", "python")}
