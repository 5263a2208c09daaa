"""A run: what a runner runs. An attempt at a job, a replica of a deployment, a start of a compute instance."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from ultramarine.domain.machine import Machine
from ultramarine.domain.names import ComputeId, NodeKey, RunKey
from ultramarine.domain.size import Amount


class RunStatus(StrEnum):
    """Azure ML's words."""

    QUEUED = "Queued"
    PREPARING = "Preparing"
    RUNNING = "Running"
    FINALIZING = "Finalizing"
    CANCEL_REQUESTED = "CancelRequested"
    NOT_RESPONDING = "NotResponding"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"


class RunEvent(StrEnum):
    PLACED = "placed"
    ALL_READY = "all_ready"
    STARTED = "started"
    RANKS_ENDED = "ranks_ended"
    SUCCEEDED = "succeeded"
    CRASHED = "crashed"
    STOPPED = "stopped"
    NODE_LOST = "node_lost"
    IMPOSSIBLE = "impossible"
    CANCEL_ASKED = "cancel_asked"
    PREEMPTED = "preempted"
    GAVE_WAY = "gave_way"
    FELL_SILENT = "fell_silent"
    STILL_PREPARING = "still_preparing"
    RESTORED = "restored"  #: it is of before the installation was restored from a backup


S, E = RunStatus, RunEvent
ALIVE = (S.PREPARING, S.RUNNING, S.FINALIZING, S.NOT_RESPONDING)
ON_NODES = frozenset({*ALIVE, S.CANCEL_REQUESTED})  #: it has nodes, and something of it may live there
RUN = Machine(
    noun="job",
    initial=S.QUEUED,
    table={
        (S.QUEUED, E.PLACED): S.PREPARING,
        (S.QUEUED, E.CANCEL_ASKED): S.CANCELED,
        (S.QUEUED, E.IMPOSSIBLE): S.FAILED,  # its compute was deleted, its environment cannot be made
        (S.QUEUED, E.RESTORED): S.FAILED,  # it may have been placed after the backup was made
        (S.PREPARING, E.ALL_READY): S.PREPARING,  # the barrier of a gang: rank 0's address is known now
        (S.PREPARING, E.STARTED): S.RUNNING,
        (S.NOT_RESPONDING, E.STARTED): S.RUNNING,  # it was only cut off
        (S.NOT_RESPONDING, E.STILL_PREPARING): S.PREPARING,
        (S.PREPARING, E.RANKS_ENDED): S.FINALIZING,  # one node failed, the others are being ended
        (S.RUNNING, E.RANKS_ENDED): S.FINALIZING,  # outputs are on their way
        (S.NOT_RESPONDING, E.RANKS_ENDED): S.FINALIZING,
        (S.FINALIZING, E.RANKS_ENDED): S.FINALIZING,  # a node failed while the outputs were on their way
        (S.CANCEL_REQUESTED, E.GAVE_WAY): S.CANCELED,
        (S.CANCEL_REQUESTED, E.SUCCEEDED): S.COMPLETED,  # it was faster than the cancel
        (S.CANCEL_REQUESTED, E.CRASHED): S.CANCELED,
        (S.CANCEL_REQUESTED, E.NODE_LOST): S.CANCELED,
        (S.CANCEL_REQUESTED, E.STOPPED): S.CANCELED,
        (S.CANCEL_REQUESTED, E.RESTORED): S.CANCELED,
    }
    | {(s, E.CANCEL_ASKED): S.CANCEL_REQUESTED for s in ALIVE}
    | {(s, E.SUCCEEDED): S.COMPLETED for s in ALIVE}  # from any: it may end before we first look
    | {(s, E.CRASHED): S.FAILED for s in ALIVE}
    | {(s, E.NODE_LOST): S.FAILED for s in ALIVE}
    | {(s, E.RESTORED): S.FAILED for s in ALIVE}
    | {(s, E.PREEMPTED): S.FINALIZING for s in (S.PREPARING, S.RUNNING)}  # it ends within its grace
    | {(s, E.GAVE_WAY): S.FAILED for s in ALIVE}
    | {(s, E.STOPPED): S.CANCELED for s in ALIVE}  # its node was told to stop it and it did
    | {(s, E.FELL_SILENT): S.NOT_RESPONDING for s in ALIVE if s is not S.NOT_RESPONDING},
)


class Tier(StrEnum):
    """How firmly a run holds its place, the least first. Azure ML's `job_tier`; the order is ours."""

    SPOT = "spot"  #: gives way to any other: it is stopped and queued again
    BASIC = "basic"
    STANDARD = "standard"
    PREMIUM = "premium"

    @property
    def rank(self) -> int:
        return _RANKS[self]

    @property
    def gives_way(self) -> bool:
        return self is Tier.SPOT


_RANKS = {tier: rank for rank, tier in enumerate(Tier)}


class Mode(StrEnum):
    TASK = "task"  #: ends by itself
    SERVICE = "service"  #: runs until it is stopped
    INSTANCE = "instance"  #: the same, but it writes files of its owner's: it ends with its lease, as tasks do


class OwnerNoun(StrEnum):
    """What a run is one of: its noun in events and addresses."""

    JOB = "job"
    DEPLOYMENT = "deployment"
    INSTANCE = "instance"


class Cause(StrEnum):
    """Why a run ended; the runner's words plus those that only the control plane can know."""

    COMPLETED = "completed"
    EXITED = "exited"
    STOPPED = "stopped"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    PROCESSES = "processes"
    DISK_FULL = "disk_full"
    LOG_LIMIT = "log_limit"
    ENVIRONMENT = "environment"
    INPUT = "input"
    PORT = "port"
    LEASE = "lease"
    RUNNER = "runner"
    NODE_LOST = "node_lost"
    PREEMPTED = "preempted"
    IMPOSSIBLE = "impossible"
    RESTORED = "restored"


#: Not the user's doing: tried again without counting against `retries`, this often at most.
INFRASTRUCTURE = frozenset({Cause.PORT, Cause.LEASE, Cause.RUNNER, Cause.NODE_LOST})
INFRASTRUCTURE_RETRIES_MAX = 3
#: Nobody's doing: tried again, however often.
UNCOUNTED = frozenset({Cause.PREEMPTED, Cause.RESTORED})

EVENT_OF_CAUSE = dict.fromkeys(Cause, E.CRASHED) | {
    Cause.COMPLETED: E.SUCCEEDED,
    Cause.STOPPED: E.STOPPED,
    Cause.PREEMPTED: E.GAVE_WAY,
    Cause.NODE_LOST: E.NODE_LOST,
    Cause.LEASE: E.NODE_LOST,
    Cause.RUNNER: E.NODE_LOST,
    Cause.RESTORED: E.RESTORED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended, on the node that decided it."""

    cause: Cause
    code: int | None = None
    words: str = ""
    rank: int | None = None
    tail: str = ""
    outputs: dict[str, str] = field(default_factory=dict[str, str])  #: output name -> manifest's sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Where the processes of one node may listen."""

    address: str
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """Where rank 0 listens, known when the barrier opens; and the same of every node, in their order."""

    address: str
    port: int
    peers: tuple[Peer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the control plane knows of a run. The bulky `spec` is read only where it is needed."""

    key: RunKey
    workspace: str
    owner_noun: OwnerNoun
    owner_id: str
    owner_name: str
    ordinal: int  #: attempt of a job, number of a replica
    mode: Mode
    compute: ComputeId
    instance_count: int = 1
    need: Amount | None = None  #: part of each node that it takes, None: whole nodes
    user: str = ""  #: who asked for it
    tier: Tier = Tier.STANDARD
    priority: int = 0
    timeout_s: int | None = None  #: it is ended so long after its ranks have started
    retries_left: int = 0  #: how often it may fail by its own doing and be tried again
    losses: int = 0  #: how many attempts before this one were lost by the infrastructure
    status: RunStatus = RUN.initial
    reason: str = ""  #: why it is in this status, in words for the user
    ending: Ending | None = None
    checkpoint: str | None = None  #: the newest kept one: its manifest's sha256; from attempt to attempt
    nodes: tuple[NodeKey, ...] = ()
    gpu_ids: dict[str, tuple[str, ...]] = field(
        default_factory=dict[str, tuple[str, ...]]
    )  #: by node, where it has a part
    master: Master | None = None
    sockets: dict[str, str] = field(default_factory=dict[str, str])  #: where a service listens, by name, once it runs
    version: int = 1  #: counts writes; a write from an older copy is refused
    asked_at: datetime  #: when its job or replica was asked for; its place in the queue, kept from attempt to attempt
    created_at: datetime
    changed_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_final(self) -> bool:
        return self.status in RUN.final

    @property
    def is_being_stopped(self) -> bool:
        """Its ranks shall end: it was canceled, it gives way, or one of its nodes has failed."""
        return self.status is S.CANCEL_REQUESTED or (self.status is S.FINALIZING and self.ending is not None)

    def after(self, event: RunEvent, *, now: datetime, reason: str = "") -> "Run":
        """The run after `event`, or `IllegalTransition`."""
        status = RUN.next(self.status, event)
        started = now if status is S.RUNNING and self.started_at is None else self.started_at
        ended = now if status in RUN.final else None
        return replace(
            self,
            status=status,
            reason=reason,
            version=self.version + 1,
            changed_at=now,
            started_at=started,
            ended_at=ended,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointReport:
    """What became of the checkpoint folder of a run."""

    snapshot: str | None = None  #: the newest that this attempt has kept: its manifest's sha256
    problem: str = ""  #: why a newer one could not be kept, in words for the user


Phase = Literal["preparing", "ready", "running", "finalizing", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run on one node, as its runner last said."""

    phase: Phase
    progress: str = ""
    address: str = ""
    port: int = 0
    ports: tuple[int, ...] = ()  #: all that it holds for its processes, `port` first
    sockets: dict[str, str] = field(default_factory=dict[str, str])
    started_at: datetime | None = None  #: when its ranks began, by the node's clock
    samples: dict[str, Any] = field(default_factory=dict[str, Any])
    checkpoint: CheckpointReport = CheckpointReport()
    ended: Ending | None = None
