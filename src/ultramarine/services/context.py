"""What every service function is given: the store, the files, the clock, names, and who listens."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime

from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.host import Host
from ultramarine.domain.identity import Entry, Session
from ultramarine.domain.names import Epoch
from ultramarine.domain.size import Amount, Sizes
from ultramarine.files.blobs import Blobs
from ultramarine.files.collected import Collected
from ultramarine.files.logs import Logs
from ultramarine.locks.lock import Uv
from ultramarine.services.authority import Authority
from ultramarine.services.bell import Bell, Followed
from ultramarine.services.hub import Hub
from ultramarine.services.measures import Measures
from ultramarine.services.recorder import Recorder
from ultramarine.services.secrets import Secrets
from ultramarine.services.usage import Usages
from ultramarine.store.database import Database, Tx
from ultramarine.tracking.client import MlflowClient

CHECKS_MAX = 2  #: environments that are checked at once: uv takes a core for each
PART = "cpu-1"  #: the size of the part that a job on the compute `local` takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    upload_bytes_max: int = 100 * 1024**3
    manifest_bytes_max: int = 32 * 1024**2
    disk_reserve_bytes: int = 256 * 1024**2
    run_processes_max: int = 4096
    run_log_bytes_max: int = 10 * 1024**3  #: of each rank
    run_disk_bytes_max: int = 0  #: 0: none
    checkpoint_every_s: float = 30
    environment_days_max: float = 30  #: after its last use on a node
    environments_bytes_max: int = 50 * 1024**3  #: of a node


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What this installation is: where it answers, and the machine it is on."""

    epoch: Epoch
    address: str  #: of the API and the endpoints, as clients reach it: `http://127.0.0.1:7770`
    second_address: str  #: of what runs people's scripts
    instances_address: str = ""  #: of compute instances
    ports: Mapping[int, tuple[int, int]] = field(
        default_factory=dict[int, "tuple[int, int]"]
    )  #: where TLS is spoken, by port of the API that of the second origin and that of instances
    machine: Host
    sizes: Sizes
    clusters: Mapping[str, Host] = field(default_factory=dict[str, Host])  #: by provider, those that are configured
    uv: str = ""  #: the uv program
    platform: str = "linux-x86_64"
    pythons: tuple[str, ...] = ("3.11",)  #: on this machine, the one we prefer first
    options: Mapping[str, object] = field(default_factory=dict[str, object])  #: the site's package index, for nodes
    limits: Limits = Limits()

    def host(self, provider: str) -> Host:
        """Whose machines a provider's nodes are. Raises `InvalidInput` where it is not configured."""
        known = {self.machine.name: self.machine, **self.clusters}
        if provider not in known:
            raise InvalidInput(
                f"provider: {provider} is not configured in this installation.",
                hint=f"Providers here: {', '.join(known)}.",
            )
        return known[provider]

    @property
    def part(self) -> Amount:
        """What a job takes of the machine itself, where no cluster gives its nodes a size."""
        return self.sizes.native[PART].within(self.machine.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    db: Database
    clock: Callable[[], datetime]
    names: Callable[[], str]  #: a new name of 32 hexadecimal digits, never given twice
    blobs: Blobs
    logs: Logs
    collected: Collected
    secrets: Secrets
    authority: Callable[[], Authority]  #: our CA, made when it is first asked for; raises `UltramarineError`
    hub: Hub
    tracking: MlflowClient
    site: Site
    codes: dict[str, tuple[datetime, Session | Entry, str]] = field(
        default_factory=dict[str, "tuple[datetime, Session | Entry, str]"]
    )  #: one-time codes: until when, whose, where to
    uv: Uv | None = None  #: what finds packages that fit together; None: this server has none
    checking: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(CHECKS_MAX)
    )  #: for who checks environments
    usage: Usages = field(default_factory=Usages)  #: what runs use
    recorder: Recorder = field(default_factory=Recorder)  #: the scheduler's last turns
    measures: Measures = field(default_factory=Measures)  #: what Prometheus is told
    work: Bell = field(default_factory=Bell)  #: runs, nodes or computes were written, or reported: the scheduler looks
    serving: Bell = field(default_factory=Bell)  #: endpoints, deployments or their replicas were written
    routed: Followed = field(default_factory=Followed)  #: how far the gateway's table has followed `serving`
    locking: Bell = field(default_factory=Bell)  #: environments were written
    changes: Bell = field(default_factory=Bell)  #: events or logs have grown: streams look again

    def begin(self) -> AbstractAsyncContextManager[Tx]:
        """A transaction that writes. Ring afterwards, so that loops and streams see what was written."""
        return self.db.begin()

    def read(self) -> AbstractAsyncContextManager[Tx]:
        return self.db.read()

    def ring(self, *others: Bell) -> None:
        """Something was written that the scheduler and streams look at, and those who wait for the `others`."""
        for bell in (self.work, self.changes, *others):
            bell.ring()
