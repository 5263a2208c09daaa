"""Valid things with one difference: `make_run(status=…)`. The only module of tests that every test may use."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from ultramarine.domain.allocation import Allocation, Node
from ultramarine.domain.compute import ClusterSpec, Compute, LocalSpec
from ultramarine.domain.host import THIS_MACHINE, Host
from ultramarine.domain.identity import EVERY_WORKSPACE, Role, Token
from ultramarine.domain.instance import Instance
from ultramarine.domain.job import Job, JobSpec
from ultramarine.domain.names import AllocationKey, ComputeId, Epoch, JobId, NodeKey, RunKey
from ultramarine.domain.run import Cause, Ending, Mode, OwnerNoun, Run, RunReport
from ultramarine.domain.size import GIB, Amount, Sizes
from ultramarine.files.blobs import Blobs
from ultramarine.files.collected import Collected
from ultramarine.files.logs import Logs
from ultramarine.files.reserve import Reserve
from ultramarine.planning.seen import AllocationNews, NodeNews, Patience, Seen
from ultramarine.planning.state import State
from ultramarine.services.authority import Authority
from ultramarine.services.context import Context, Site
from ultramarine.services.hub import Hub
from ultramarine.services.secrets import Secrets
from ultramarine.store.database import Database
from ultramarine.tracking.client import MlflowClient

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EPOCH = Epoch("e1")
MINIMAL = "minimal"
SIZES = Sizes(
    {
        "cpu-1": Amount(cpus_milli=1000, memory_bytes=2 * GIB),
        "cpu-2": Amount(cpus_milli=2000, memory_bytes=4 * GIB),
        "cpu-8": Amount(cpus_milli=8000, memory_bytes=16 * GIB),
        "gpu-1": Amount(cpus_milli=1000, memory_bytes=2 * GIB, gpus=1),
    },
    {"STANDARD_DS1_V2": "cpu-1", "STANDARD_DS2_V2": "cpu-2", "STANDARD_DS4_V2": "cpu-8", "STANDARD_NC6": "gpu-1"},
)


def later(seconds: float) -> datetime:
    """`seconds` after `NOON`."""
    return NOON + timedelta(seconds=seconds)


def cpus(count: float, *, gpus: int = 0) -> Amount:
    """A machine part with 2 GiB of memory to each CPU."""
    return Amount(cpus_milli=round(count * 1000), memory_bytes=round(count * 2 * GIB), gpus=gpus)


def make_host(**different: Any) -> Host:
    return replace(Host(name=THIS_MACHINE, total=cpus(4)), **different)


def make_token(subject: str = "ann", role: Role = Role.OWNER, **different: Any) -> Token:
    """Of somebody who may do everything, in every workspace."""
    return replace(Token(id="t1", subject=subject, workspace=EVERY_WORKSPACE, role=role, created_at=NOON), **different)


def make_spec(**different: Any) -> JobSpec:
    plain = {"command": "echo hello", "environment": MINIMAL, "compute": "cluster"}
    return JobSpec.read(plain | different, what="the job")


def make_job(**different: Any) -> Job:
    plain = Job(
        id=JobId("j1"), workspace="w", name="j1", spec=make_spec(), body_sha256="0" * 64, user="ann", created_at=NOON
    )
    return replace(plain, **different)


def make_run(name: str = "j1", **different: Any) -> Run:
    """Attempt 1 at the job `name`, queued on the compute `c1`."""
    ordinal = different.get("ordinal", 1)
    plain = Run(
        key=RunKey(f"{EPOCH}-{name}-{ordinal}"),
        workspace="w",
        owner_noun=OwnerNoun.JOB,
        owner_id=name,
        owner_name=name,
        ordinal=ordinal,
        mode=Mode.TASK,
        compute=ComputeId("c1"),
        asked_at=NOON,
        created_at=NOON,
        changed_at=NOON,
    )
    return replace(plain, **different)


def make_cluster(id: str = "c1", **different: Any) -> Compute:
    """A cluster of up to 4 nodes with 1 CPU each. Fields of its specification may be given beside its own."""
    fields = {k: different.pop(k) for k in list(different) if k in ClusterSpec.model_fields and k != "size"}
    spec = ClusterSpec.model_validate({"name": f"cluster-{id}", "size": "cpu-1", "max_instances": 4} | fields)
    plain = Compute(
        id=ComputeId(id),
        workspace="w",
        name=spec.name,
        spec=spec,
        host=THIS_MACHINE,
        size=cpus(1),
        size_name="cpu-1",
        created_at=NOON,
        changed_at=NOON,
    )
    return replace(plain, **different)


def make_local(id: str = "local", **different: Any) -> Compute:
    plain = Compute(
        id=ComputeId(id),
        workspace="w",
        name="local",
        spec=LocalSpec(),
        host=THIS_MACHINE,
        size=cpus(4),
        size_name="machine",
        created_at=NOON,
        changed_at=NOON,
    )
    return replace(plain, **different)


def make_instance(**different: Any) -> Instance:
    """Instance `i1` of ann, of the compute `c1`."""
    plain = Instance(
        id=ComputeId("c1"),
        workspace="w",
        name="i1",
        owner="ann",
        active_at=NOON,
        scheduled_at=NOON,
        created_at=NOON,
        changed_at=NOON,
    )
    return replace(plain, **different)


def make_allocation(number: int = 1, *, compute: Compute | None = None, **different: Any) -> Allocation:
    """Allocation `number` of a compute."""
    of = compute or make_cluster()
    plain = Allocation(
        key=AllocationKey(f"{EPOCH}-{of.id}-{number}"),
        compute=of.id,
        workspace="w",
        compute_name=of.name,
        host=of.host,
        claim=Amount() if of.is_elastic else of.size,
        capacity=of.size,
        is_elastic=of.is_elastic,
        created_at=NOON,
        changed_at=NOON,
    )
    return replace(plain, **different)


def make_node(allocation: Allocation | None = None, **different: Any) -> Node:
    of = allocation or make_allocation()
    plain = Node(key=of.node, allocation=of.key, nonce="0" * 32, machine={}, used_at=NOON)
    return replace(plain, **different)


def make_state(**different: Any) -> State:
    """A cluster `c1` on a host of 4 CPUs, and nothing else."""
    plain: dict[str, Any] = {
        "epoch": EPOCH,
        "runs": [],
        "computes": [make_cluster()],
        "allocations": [],
        "nodes": [make_node(a) for a in different.get("allocations", ()) if a.status.value in ("Up", "Draining")],
        "hosts": [make_host()],
    }
    return State(**(plain | different))


def make_report(phase: Any = "running", cause: Cause | None = None, **different: Any) -> RunReport:
    """A run as its runner reports it; with a `cause`, ended so."""
    if cause is None:
        return RunReport(phase=phase, **different)
    ending = Ending(cause=cause, code=0 if cause is Cause.COMPLETED else 1, words=f"It ended: {cause.value}.")
    return RunReport(phase="ended", ended=ending, **different)


def make_seen(
    reports: dict[NodeKey, dict[RunKey, RunReport]] | None = None,
    *,
    heard_at: datetime = NOON,
    ended: tuple[AllocationKey, ...] = (),
    **different: Any,
) -> Seen:
    """`reports`: by node, what its runner said at `heard_at`; `ended`: what the target says has ended."""
    plain: dict[str, Any] = {
        "listening_since": NOON,
        "nodes": {node: NodeNews(heard_at=heard_at, runs=runs) for node, runs in (reports or {}).items()},
        "allocations": {key: AllocationNews(state="ended", reason="It has ended.") for key in ended},
    }
    return Seen(**(plain | different))


def make_site(**different: Any) -> Site:
    plain = Site(
        epoch=EPOCH,
        address="http://127.0.0.1:7770",
        second_address="http://127.0.0.1:7771",
        instances_address="http://127.0.0.1:7772",
        machine=make_host(),
        sizes=SIZES,
    )
    return replace(plain, **different)


def make_context(db: Database, folder: Path, **different: Any) -> Context:
    """What services need, on a machine of 4 CPUs; its clock stands at noon, names repeat."""
    count = iter(range(1, 1 << 62))
    plain: dict[str, Any] = {
        "db": db,
        "clock": lambda: NOON,
        "names": lambda: sha256(str(next(count)).encode()).hexdigest()[:32],
        "blobs": Blobs(folder / "files", Reserve(folder, 0)),
        "logs": Logs(folder / "logs", Reserve(folder, 0)),
        "collected": Collected(folder / "collected", Reserve(folder, 0)),
        "secrets": Secrets(b"0" * 32),
        "authority": lambda: Authority.at(folder, now=NOON),
        "hub": Hub(patience=Patience(), listening_since=NOON),
        "site": make_site(),
    }
    if "tracking" not in different:
        plain["tracking"] = MlflowClient(folder / "mlflow.sock")
    return Context(**(plain | different))
