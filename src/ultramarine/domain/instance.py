"""Compute instances: one person's machine with JupyterLab, and a home folder that outlives it."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import Field

from ultramarine.domain.inside import CustomApplication, CustomApplications, SetupScripts
from ultramarine.domain.machine import Machine
from ultramarine.domain.names import ComputeId
from ultramarine.domain.provider import Provider
from ultramarine.domain.spec import Spec
from ultramarine.domain.start_stop import InstanceSchedules

IDLE, IDLE_MINUTES = "idle_time_before_shutdown_minutes", 60
AWAKE_HOURS_MAX = 7 * 24
#: Fields of Azure ML's schema of what is made of its machines, a cluster or an instance, that are not there yet.
OF_MACHINES_NOT_YET = frozenset(
    {
        "identity",
        "network_settings",
        "ssh_settings",
        "ssh_public_access_enabled",
        "enable_node_public_ip",
        "location",
    }
)


class OnBehalfOf(Spec):
    """Whose instance it is, where it is made for somebody else."""

    user: str = Field(description="ours: the subject of that person's tokens")


class InstanceSpec(Spec):
    """A machine of one person's own."""

    not_yet: ClassVar[frozenset[str]] = OF_MACHINES_NOT_YET
    type: Literal["computeinstance"] = "computeinstance"
    name: str
    size: str
    idle_time_before_shutdown_minutes: int | None = Field(
        default=IDLE_MINUTES,
        ge=1,
        le=7 * 24 * 60,
        description="it is stopped when it was idle for so long; null: never",
    )
    schedules: InstanceSchedules | None = None
    setup_scripts: SetupScripts | None = None
    custom_applications: CustomApplications = Field(default_factory=list[CustomApplication])
    create_on_behalf_of: OnBehalfOf | None = None
    provider: Provider = Field(default="local", description="where its machine comes from")
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])

    def body(self) -> dict[str, Any]:
        """Here null is not the same as not given: never, and not after an hour."""
        never = {IDLE: None} if IDLE in self.model_fields_set and self.idle_time_before_shutdown_minutes is None else {}
        return super().body() | never


class ResizeSpec(Spec):
    """What its next machine is to be."""

    size: str


class KeepAwakeSpec(Spec):
    """For how long from now it does not stop by itself."""

    hours: float = Field(default=8, ge=0, le=AWAKE_HOURS_MAX)


class InstanceStatus(StrEnum):
    """Azure ML's words."""

    CREATING = "Creating"
    STARTING = "Starting"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    RESIZING = "Resizing"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    SETUP_FAILED = "SetupFailed"
    UNUSABLE = "Unusable"


class InstanceEvent(StrEnum):
    ANSWERS = "answers"
    SETUP_CRASHED = "setup_crashed"
    GAVE_UP = "gave_up"
    WAS_LOST = "was_lost"
    START_ASKED = "start_asked"
    STOP_ASKED = "stop_asked"
    RESTART_ASKED = "restart_asked"
    RESIZE_ASKED = "resize_asked"
    ENDED = "ended"


S, E = InstanceStatus, InstanceEvent
COMING = (S.CREATING, S.STARTING)  #: a run of it is wanted, and does not answer yet
UP = (*COMING, S.RUNNING)  #: a run of it is wanted
LEAVING = (S.STOPPING, S.RESTARTING, S.RESIZING)  #: its run is to end
DOWN = (S.STOPPED, S.SETUP_FAILED, S.UNUSABLE)
INSTANCE = Machine(
    noun="compute instance",
    initial=S.CREATING,
    table={
        (S.RUNNING, E.WAS_LOST): S.STARTING,  # it crashed, or its machine was lost: it comes back by itself
        (S.RUNNING, E.RESTART_ASKED): S.RESTARTING,
        (S.STOPPING, E.START_ASKED): S.RESTARTING,
        (S.STOPPING, E.ENDED): S.STOPPED,
        (S.RESTARTING, E.ENDED): S.STARTING,
        (S.RESIZING, E.ENDED): S.STARTING,  # once its machine is given back: the next has the new size
        (S.STOPPED, E.RESIZE_ASKED): S.STOPPED,
    }
    | {(s, E.ANSWERS): S.RUNNING for s in COMING}
    | {(s, E.SETUP_CRASHED): S.SETUP_FAILED for s in COMING}
    | {(s, E.GAVE_UP): S.UNUSABLE for s in COMING}
    | {(s, E.STOP_ASKED): S.STOPPING for s in (*UP, S.RESTARTING, S.RESIZING)}
    | {(s, E.START_ASKED): S.STARTING for s in DOWN}
    | {(s, E.RESIZE_ASKED): S.RESIZING for s in UP}
    | {(s, E.RESIZE_ASKED): s for s in (S.SETUP_FAILED, S.UNUSABLE)},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What is known of one beside its compute, whose id it has."""

    id: ComputeId
    workspace: str
    name: str
    owner: str  #: the subject of the tokens that may enter it
    status: InstanceStatus = INSTANCE.initial
    reason: str = ""
    runs_made: int = 0  #: numbers its runs; never goes back
    active_at: datetime  #: when it was last seen busy, or was started
    awake_until: datetime | None = None  #: somebody asked that it does not stop by itself before
    scheduled_at: datetime  #: its schedules are done up to here
    version: int = 1
    created_at: datetime
    changed_at: datetime

    def after(self, event: InstanceEvent, *, now: datetime, reason: str = "") -> "Instance":
        status = INSTANCE.next(self.status, event)
        active_at = now if event in (E.ANSWERS, E.START_ASKED) else self.active_at
        return replace(
            self, status=status, reason=reason, active_at=active_at, version=self.version + 1, changed_at=now
        )

    @property
    def no_news(self) -> frozenset[InstanceEvent]:
        """What may be asked for, but is so already, or is becoming so."""
        asked = {E.START_ASKED: UP, E.STOP_ASKED: (S.STOPPING, S.STOPPED), E.RESTART_ASKED: (S.RESTARTING, *COMING)}
        return frozenset(event for event, statuses in asked.items() if self.status in statuses)

    def words(self, run: str) -> str:
        """Why it stands as it does. `run`: what its run says while one is wanted; it knows more, and newer."""
        return (self.status in UP and run) or self.reason

    @property
    def path(self) -> str:
        """Where it is, behind the gateway."""
        return f"/instances/{self.workspace}/{self.name}/"
