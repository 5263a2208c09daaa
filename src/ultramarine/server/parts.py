"""Real parts, put together: from a home folder to a context, a driver and loops."""

import asyncio
import secrets
import shutil
import sys
import sysconfig
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ultramarine.backup.contents import OWNER_OF_FILES
from ultramarine.controllers import lag
from ultramarine.controllers.deployments import DeploymentLoop, ServingFiles
from ultramarine.controllers.environments import EnvironmentLoop
from ultramarine.controllers.evidence import Jupyter
from ultramarine.controllers.fleet import FleetLoop
from ultramarine.controllers.instances import InstanceLoop
from ultramarine.controllers.loads import LoadLoop
from ultramarine.controllers.loop import forever
from ultramarine.controllers.metrics import MetricsLoop
from ultramarine.controllers.probes import ProbeLoop
from ultramarine.controllers.rollouts import RolloutLoop
from ultramarine.controllers.routes import RouteLoop
from ultramarine.controllers.runs import RunLoop
from ultramarine.controllers.tracking import TrackingLoop
from ultramarine.controllers.workspaces import WorkspaceLoop
from ultramarine.domain.allocation import Allocation
from ultramarine.domain.host import ENDLESS, THIS_MACHINE, Host
from ultramarine.domain.names import Epoch
from ultramarine.domain.size import GIB, Amount, Sizes
from ultramarine.drivers import pyz
from ultramarine.drivers.local import LocalDriver
from ultramarine.drivers.machine import this_machine, this_platform
from ultramarine.drivers.protocol import Driver, Joining
from ultramarine.drivers.pyz import pythons as find_pythons
from ultramarine.drivers.ray import Autoscaling, EngineSettings, Places, RayDriver
from ultramarine.drivers.ray import keep as keep_engine
from ultramarine.drivers.ray import read as read_provider
from ultramarine.files.blobs import Blobs
from ultramarine.files.collected import Collected
from ultramarine.files.homes import Homes
from ultramarine.files.logs import Logs
from ultramarine.files.reserve import Reserve
from ultramarine.locks.lock import Uv
from ultramarine.locks.site import site_options
from ultramarine.planning.routes import Upstreams
from ultramarine.planning.seen import Patience
from ultramarine.private import write_private
from ultramarine.routing.publisher import RoutePublisher
from ultramarine.server.certificate import Certificate, listening_of
from ultramarine.server.first_start import begin, epoch_of
from ultramarine.services.authority import Authority
from ultramarine.services.bell import Bell
from ultramarine.services.context import Context, Limits, Site
from ultramarine.services.hub import Hub
from ultramarine.services.nodes import JOIN
from ultramarine.services.secrets import Secrets
from ultramarine.settings import Settings
from ultramarine.store.database import AsyncDatabase, url_of
from ultramarine.store.migration import migrate
from ultramarine.supervision.home import owner
from ultramarine.supervision.listening import HOST
from ultramarine.tracking.client import MlflowClient

NODE_RESERVE_BYTES = 64 * 1024**2
HOMES = "instances"  #: below the installation's home: the home folders of instances
Tick = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """`bell`: what wakes it besides the slow clock."""

    name: str
    tick: Tick
    bell: Bell


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where a node reaches us: its runner (`url`), what its jobs start (`server`), and whom both trust there (PEM)."""

    url: str
    server: str
    ca: str | None = None  #: None: what the node trusts anyway


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    ctx: Context
    loops: Sequence[Loop]
    beside: Sequence[Coroutine[Any, Any, None]] = ()  #: what else goes on: engines of drivers

    def begin(self) -> list[asyncio.Task[None]]:
        """Everything that goes on beside answering, as tasks that only end when they are canceled."""
        turned = self.ctx.measures.turned
        turning = [forever(loop.name, loop.tick, loop.bell, turned=turned) for loop in self.loops]
        return [asyncio.create_task(each) for each in (*turning, *self.beside, lag.forever(self.ctx.measures.lagged))]

    async def close(self) -> None:
        await self.ctx.tracking.close()
        await self.ctx.db.close()


def address_of(port: int) -> str:
    return f"http://{HOST}:{port}"


def upstreams_of(home: Path, socket: Path) -> Upstreams:
    return Upstreams(control=f"unix:{socket}", mlflow=f"unix:{home / 'run' / 'mlflow.sock'}")


def what_is_here(home: Path) -> Driver:
    """To end what this machine holds of us. It begins nothing."""

    def config(allocation: Allocation, rank: int) -> Mapping[str, Any]:
        raise NotImplementedError(f"{allocation.key}.{rank} is the leader's to begin")

    return LocalDriver(home / "nodes", pyz=home / "tools", joining=Joining(config=config, wake=lambda: None))


async def put_together(settings: Settings, *, home: Path, socket: Path) -> Parts:
    """Bring the database up to date, make what a first start makes, and connect everything."""
    url = url_of(settings.database_url, home)
    migrate(url)
    cache, clusters = _cache(settings, home), _clusters(settings)
    db, reserve = AsyncDatabase(url), Reserve(home, settings.disk_reserve_bytes)
    blobs, keys = Blobs(home / "files", reserve), Secrets.at(home / "master.key")
    write_private(home / OWNER_OF_FILES, keys.fingerprint)  # before the database has an installation
    ctx = Context(
        db=db,
        clock=lambda: datetime.now(UTC),
        names=lambda: secrets.token_hex(16),
        blobs=blobs,
        logs=Logs(home / "files" / "logs", reserve),
        collected=Collected(home / "files" / "collected", reserve),
        secrets=keys,
        authority=lambda: Authority.at(home, now=datetime.now(UTC)),
        hub=Hub(patience=_patience(settings), listening_since=datetime.now(UTC), pools=(THIS_MACHINE, *clusters)),
        uv=Uv(program=_uv(), cache=cache / "uv", options=site_options()),
        tracking=MlflowClient(home / "run" / "mlflow.sock"),
        site=replace(_site(settings, epoch=await epoch_of(db), cache=cache), clusters=clusters),
    )
    await begin(ctx, home)
    certificate = Certificate(settings, home, clock=ctx.clock)
    here = Door(url=f"unix:{socket}", server=ctx.site.address)
    joining, own = _joining(ctx, lambda: here, cache, homes=home / HOMES), owner(home)
    driver = LocalDriver(home / "nodes", pyz=pyz.build(home / "tools"), joining=joining)
    publisher = RoutePublisher(home / "gateway")
    routes = RouteLoop(ctx, publisher, upstreams_of(home, socket), hosts=certificate.known_names)
    serving = ServingFiles(zip_sha256=ctx.blobs.put(pyz.serving(home / "tools").read_bytes()))
    scheduler = RunLoop(ctx, driver, owner=own)
    others, beside = (), ()
    if _has_ray(settings):
        others, beside = _on_ray(ctx, settings, _door(ctx, settings, certificate), home=home, owner=own)
    if certificate.listening.outside:
        others = (*others, Loop(name="certificate", tick=certificate.tick, bell=Bell()))
    loops = (
        *others,
        Loop(name="runs", tick=scheduler.tick, bell=ctx.work),
        Loop(name="routes", tick=routes.tick, bell=ctx.serving),
        Loop(name="deployments", tick=DeploymentLoop(ctx, publisher, serving).tick, bell=ctx.serving),
        Loop(name="instances", tick=_instances(ctx, home, publisher).tick, bell=ctx.serving),
        Loop(name="rollouts", tick=RolloutLoop(ctx).tick, bell=ctx.serving),
        Loop(name="environments", tick=EnvironmentLoop(ctx).tick, bell=ctx.locking),
        # Never rung: nobody waits for what these do.
        Loop(name="probes", tick=ProbeLoop(ctx).tick, bell=Bell()),
        Loop(name="loads", tick=LoadLoop(ctx).tick, bell=Bell()),
        Loop(name="workspaces", tick=WorkspaceLoop(ctx).tick, bell=Bell()),
        Loop(name="tracking", tick=TrackingLoop(ctx).tick, bell=Bell()),
        Loop(name="metrics", tick=MetricsLoop(ctx).tick, bell=Bell()),
    )
    return Parts(ctx=ctx, loops=loops, beside=beside)


def _instances(ctx: Context, home: Path, publisher: RoutePublisher) -> InstanceLoop:
    zip_sha256 = ctx.blobs.put(pyz.instance(home / "tools").read_bytes())
    return InstanceLoop(ctx, Jupyter(ctx, publisher.uses), zip_sha256=zip_sha256, homes=Homes(home / HOMES))


def _clusters(settings: Settings) -> Mapping[str, Host]:
    """What is configured beside this machine, by provider."""
    if not _has_ray(settings):
        return {}
    return {RayDriver.kind: Host(name=RayDriver.kind, pool=RayDriver.kind, is_bounded=False, total=ENDLESS)}


def _has_ray(settings: Settings) -> bool:
    return bool(settings.ray_address or settings.ray_head)


def _door(ctx: Context, settings: Settings, certificate: Certificate) -> Callable[[], Door]:
    """Where the nodes of a Ray cluster reach us. Asked for each of them: an address may change."""

    def door() -> Door:
        if settings.ray_url or not certificate.listening.outside:
            where = settings.ray_url or ctx.site.address
            return Door(url=where, server=where)
        place = certificate.place()
        return Door(url=place.url, server=place.url, ca=place.ca)

    return door


def _on_ray(
    ctx: Context, settings: Settings, door: Callable[[], Door], *, home: Path, owner: str
) -> tuple[Sequence[Loop], Sequence[Coroutine[Any, Any, None]]]:
    """The loop of the clusters whose nodes are a Ray cluster's, and what keeps the driver's engine running."""
    token = settings.ray_token.expanduser().absolute() if settings.ray_token else None
    engine = EngineSettings(
        address=settings.ray_address or settings.ray_head,
        token=Places(home=home).token if settings.ray_head else token,
        namespace=f"um-{ctx.secrets.of('namespace', RayDriver.kind)[:12]}",
        socket=home / "run" / "ray.sock",
        environments=_cache(settings, home) / RayDriver.kind,
        node=settings.ray_head.rpartition(":")[0],
    )
    joining = _joining(ctx, door, None)
    autoscaling = _autoscaling(settings, engine, home)
    driver = RayDriver(engine.socket, pyz=pyz.build(home / "tools"), joining=joining, autoscaling=autoscaling)
    scheduler = RunLoop(ctx, driver, owner=owner, pool=RayDriver.kind)
    loops = [Loop(name="runs on ray", tick=scheduler.tick, bell=ctx.work)]
    if autoscaling is not None:
        fleet = FleetLoop(ctx, autoscaling, pool=RayDriver.kind)
        loops.append(Loop(name="fleet", tick=fleet.tick, bell=ctx.work))
    return loops, (keep_engine(engine),)


def _autoscaling(settings: Settings, engine: EngineSettings, home: Path) -> Autoscaling | None:
    """What brings machines to the Ray that we run, where it is said from where."""
    if settings.ray_provider is None:
        return None
    return Autoscaling(
        Places(home=home),
        read_provider(settings.ray_provider.expanduser().absolute()),
        address=engine.address,
        name=engine.namespace,
        environments=engine.environments,
    )


def _cache(settings: Settings, home: Path) -> Path:
    return settings.cache.expanduser().absolute() if settings.cache else home / "cache"


def _site(settings: Settings, *, epoch: Epoch, cache: Path) -> Site:
    native = {
        name: Amount(cpus_milli=round(size.cpus * 1000), memory_bytes=round(size.memory_gib * GIB), gpus=size.gpus)
        for name, size in settings.size_catalogue().items()
    }
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return Site(
        epoch=epoch,
        address=address_of(settings.port),
        second_address=address_of(settings.second_port),
        instances_address=address_of(settings.instances_port),
        ports={each.port: (each.second_port, each.instances_port) for each in listening_of(settings).outside},
        machine=this_machine(),
        sizes=Sizes(native, settings.size_alias_catalogue()),
        platform=this_platform(),
        pythons=(here, *(python for python in find_pythons(cache) if python != here)),
        options=site_options().to_json(),
        uv=_uv(),
        limits=Limits(
            upload_bytes_max=settings.upload_bytes_max,
            manifest_bytes_max=settings.manifest_bytes_max,
            disk_reserve_bytes=settings.disk_reserve_bytes,
            run_processes_max=settings.run_processes_max,
            run_log_bytes_max=settings.run_log_bytes_max,
            checkpoint_every_s=settings.checkpoint_every_s,
            run_disk_bytes_max=settings.run_disk_bytes_max,
            environment_days_max=settings.environment_days_max,
            environments_bytes_max=settings.environments_bytes_max,
        ),
    )


def _patience(settings: Settings) -> Patience:
    return Patience(
        silent_after_s=settings.silent_after_s,
        lease_s=settings.lease_s,
        margin_s=settings.lease_margin_s,
        start_s=settings.node_start_s,
        beat_s=settings.beat_s,
        grace_s=settings.grace_s,
    )


def _joining(ctx: Context, door: Callable[[], Door], cache: Path | None, *, homes: Path | None = None) -> Joining:
    """`cache` and `homes`: of this machine, or None where runners are on others."""

    def config(allocation: Allocation, rank: int) -> Mapping[str, Any]:
        where = door()
        return {
            "url": where.url,
            "server": where.server,
            "ca": where.ca,
            "allocation": allocation.key,
            "rank": rank,
            "epoch": ctx.site.epoch,
            "join_secret": ctx.secrets.of(JOIN, allocation.key),
            "cache": "" if cache is None else str(cache),
            "homes": None if homes is None else str(homes),
            "cpus": allocation.capacity.cpus_milli / 1000,
            "memory_bytes": allocation.capacity.memory_bytes,
            "gpus": list(allocation.gpu_ids),
            "uv": (ctx.site.uv or None) if cache is not None else None,
            # On the same disk a job is ended before the server has to refuse what others send.
            "disk_reserve_bytes": ctx.site.limits.disk_reserve_bytes + NODE_RESERVE_BYTES,
            "environment_days_max": ctx.site.limits.environment_days_max,
            "environments_bytes_max": ctx.site.limits.environments_bytes_max,
        }

    return Joining(config=config, wake=ctx.work.ring, lease_s=ctx.hub.patience.lease_s)


def _uv() -> str:
    """The uv beside our own Python, else the one on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "uv"
    return str(beside) if beside.exists() else shutil.which("uv") or ""
