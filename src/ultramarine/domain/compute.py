"""Compute targets: where work can run."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from ultramarine.domain.errors import InvalidInput, NotSupportedYet
from ultramarine.domain.host import THIS_MACHINE
from ultramarine.domain.instance import OF_MACHINES_NOT_YET, InstanceSpec
from ultramarine.domain.machine import Machine
from ultramarine.domain.names import ComputeId
from ultramarine.domain.provider import Provider
from ultramarine.domain.size import NOTHING, SHARE_MILLI, Amount
from ultramarine.domain.spec import Spec, refused

LOCAL = "local"  #: the compute that is always there: the machine itself
INSTANCE_IDLE_S = 10


class ClusterSpec(Spec):
    """Managed nodes of one size, `min_instances`..`max_instances` of them, for jobs or for replicas."""

    not_yet: ClassVar[frozenset[str]] = OF_MACHINES_NOT_YET
    type: Literal["amlcompute", "inferencecluster"] = "amlcompute"
    name: str
    size: str
    min_instances: int = Field(default=0, ge=0, le=1000)
    max_instances: int = Field(default=1, ge=1, le=1000)
    idle_time_before_scale_down: int = Field(default=120, ge=0, description="seconds")
    tier: Literal["dedicated", "low_priority"] = "dedicated"
    provider: Provider = Field(default="local", description="where its nodes come from")
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])

    @field_validator("tier", mode="before")
    @classmethod
    def _in_any_case(cls, tier: object) -> object:
        """Azure ML writes `LowPriority` as well as `low_priority`."""
        if isinstance(tier, str):
            return {"lowpriority": "low_priority"}.get(tier.lower(), tier.lower())
        return tier

    @model_validator(mode="after")
    def _min_up_to_max(self) -> "ClusterSpec":
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances is {self.min_instances}, more than max_instances, {self.max_instances}")
        return self

    @model_validator(mode="after")
    def _replicas_can_be(self) -> "ClusterSpec":
        if self.type == "inferencecluster" and self.tier != "dedicated":
            raise ValueError(f"tier: {self.tier!r} is for jobs: replicas on an inferencecluster do not give way")
        return self


class LocalSpec(Spec):
    """The machine itself. It is made with the workspace, not by users."""

    type: Literal["local"] = "local"
    name: str = LOCAL
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])


ComputeSpec = ClusterSpec | InstanceSpec | LocalSpec
COMPUTE: TypeAdapter[ComputeSpec] = TypeAdapter(Annotated[ComputeSpec, Field(discriminator="type")])
TYPES = ("amlcompute", "inferencecluster", "computeinstance")  #: that users make
NOT_YET = ("virtualmachine", "kubernetes", "slurm", "ray", "synapsespark")


def read_spec(body: object) -> ComputeSpec:
    """A compute's specification from a file or request, or `InvalidInput`."""
    kind = body.get("type") if isinstance(body, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if kind in NOT_YET:
        raise NotSupportedYet(f"type: {kind!r} is not supported yet.", hint=f"Supported now: {', '.join(TYPES)}.")
    if kind not in (*TYPES, LOCAL):
        seen = "missing" if kind is None else f"{str(kind)[:80]!r}, which is no type of compute"  # pyright: ignore[reportUnknownArgumentType]
        raise InvalidInput(
            f"type: it is {seen}.",
            hint="Write type: amlcompute (or --type amlcompute) for a cluster that trains, "
            "inferencecluster for one that holds replicas, computeinstance for notebooks.",
        )
    try:
        return COMPUTE.validate_python(body)
    except ValidationError as error:
        raise refused(error, what="the compute") from None


class ComputeStatus(StrEnum):
    SUCCEEDED = "Succeeded"
    DELETING = "Deleting"
    DELETED = "Deleted"


class ComputeEvent(StrEnum):
    DELETE_ASKED = "delete_asked"
    EMPTIED = "emptied"


COMPUTE_STATES = Machine(
    noun="compute",
    initial=ComputeStatus.SUCCEEDED,
    table={
        (ComputeStatus.SUCCEEDED, ComputeEvent.DELETE_ASKED): ComputeStatus.DELETING,
        (ComputeStatus.DELETING, ComputeEvent.EMPTIED): ComputeStatus.DELETED,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    id: ComputeId
    workspace: str
    name: str
    spec: ComputeSpec
    host: str  #: whose room it uses
    size: Amount  #: of one node
    size_name: str
    status: ComputeStatus = COMPUTE_STATES.initial
    reason: str = ""
    allocations_made: int = 0  #: numbers its allocations; never goes back
    version: int = 1
    created_at: datetime
    changed_at: datetime

    def after(self, event: ComputeEvent, *, now: datetime, reason: str = "") -> "Compute":
        return replace(
            self,
            status=COMPUTE_STATES.next(self.status, event),
            reason=reason,
            version=self.version + 1,
            changed_at=now,
        )

    @property
    def holds_replicas(self) -> bool:
        """Whether it is a cluster for replicas alone."""
        return isinstance(self.spec, ClusterSpec) and self.spec.type == "inferencecluster"

    @property
    def gives_way(self) -> bool:
        """Whether all that runs on it gives way to others, as spot work does."""
        return isinstance(self.spec, ClusterSpec) and self.spec.tier == "low_priority"

    @property
    def provider(self) -> str:
        """Whose machines its nodes are."""
        return LOCAL if isinstance(self.spec, LocalSpec) else self.spec.provider

    @property
    def is_instance(self) -> bool:
        """Whether it is one person's machine, which holds nothing but that person's instance."""
        return isinstance(self.spec, InstanceSpec)

    @property
    def is_going(self) -> bool:
        return self.status is not ComputeStatus.SUCCEEDED

    @property
    def claim(self) -> Amount:
        """What one of its nodes holds of its host; nothing where runs claim what they take themselves.

        An instance on this machine mostly waits for its owner, so of the CPUs it holds a share, as replicas do.
        """
        if self.is_elastic:
            return NOTHING
        if self.is_instance and self.host == THIS_MACHINE:
            return Amount(shares_milli=SHARE_MILLI, memory_bytes=self.size.memory_bytes, gpus=self.size.gpus)
        return self.size

    @property
    def is_elastic(self) -> bool:
        return isinstance(self.spec, LocalSpec)

    @property
    def min_instances(self) -> int:
        if isinstance(self.spec, ClusterSpec) and self.status is ComputeStatus.SUCCEEDED:
            return self.spec.min_instances
        return 0

    @property
    def max_instances(self) -> int:
        return self.spec.max_instances if isinstance(self.spec, ClusterSpec) else 1

    @property
    def idle_s(self) -> float:
        """Seconds that a node is kept with nothing on it. An instance's is there for a restart, no longer."""
        if isinstance(self.spec, ClusterSpec):
            return self.spec.idle_time_before_scale_down
        return INSTANCE_IDLE_S if self.is_instance else 600

    @property
    def targets(self) -> list[str]:
        """What it can be used for: `training`, `inferencing` or both."""
        if isinstance(self.spec, LocalSpec):
            return ["training", "inferencing"]
        if isinstance(self.spec, InstanceSpec):
            return []
        return ["inferencing"] if self.spec.type == "inferencecluster" else ["training"]
