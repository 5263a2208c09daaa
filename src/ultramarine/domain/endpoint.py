"""Online endpoints, a stable address each, and the deployments that stand behind them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, field_validator, model_validator

from ultramarine.domain.compute import LOCAL
from ultramarine.domain.data_collector import DataCollector
from ultramarine.domain.environment import EnvironmentSpec
from ultramarine.domain.machine import Machine
from ultramarine.domain.model import ModelSpec
from ultramarine.domain.spec import Seconds, Spec

MIRROR_PERCENT_MAX = 50
REPLICAS_MAX = 100
REQUEST_TIMEOUT_MS_MAX = 180_000
WORKER_COUNT = "WORKER_COUNT"  #: Azure's variable: how many processes answer in each replica
WORKERS_MAX = 64
AUTO = "auto"  #: one for each CPU of its instance_type


class EndpointSpec(Spec):
    not_yet: ClassVar[frozenset[str]] = frozenset({"identity", "compute", "kind", "properties"})
    name: str
    auth_mode: Literal["key", "aml_token"] = "key"
    traffic: dict[str, int] = Field(default_factory=dict[str, int])
    mirror_traffic: dict[str, int] = Field(default_factory=dict[str, int])
    public_network_access: Literal["enabled"] = "enabled"
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])

    @field_validator("auth_mode", mode="before")
    @classmethod
    def _one_that_there_is(cls, mode: object) -> object:
        """Azure ML writes `Key` and `AMLToken` in REST bodies, `key` and `aml_token` in files."""
        if not isinstance(mode, str):
            return mode
        plain = mode.lower().replace("_", "")
        if plain == "aadtoken":
            raise ValueError("sign in by a directory is not supported yet; key and aml_token are")
        return {"amltoken": "aml_token"}.get(plain, plain)

    @field_validator("public_network_access", mode="before")
    @classmethod
    def _enabled(cls, access: object) -> object:
        return _only_enabled(access)

    @field_validator("traffic")
    @classmethod
    def _shares(cls, traffic: dict[str, int]) -> dict[str, int]:
        if any(not 0 <= share <= 100 for share in traffic.values()):
            raise ValueError("each share of the traffic is 0 to 100 percent")
        if sum(traffic.values()) not in (0, 100):
            raise ValueError(f"the shares of the traffic add up to {sum(traffic.values())}, not to 100 (or all 0)")
        return traffic

    @field_validator("mirror_traffic")
    @classmethod
    def _one_mirror(cls, mirror: dict[str, int]) -> dict[str, int]:
        """Azure's own rules: one deployment, half of the traffic at most."""
        if any(not 0 <= share <= MIRROR_PERCENT_MAX for share in mirror.values()):
            raise ValueError(f"0 to {MIRROR_PERCENT_MAX} percent of the traffic can be mirrored")
        if len(to := [name for name, share in mirror.items() if share]) > 1:
            raise ValueError(f"traffic is mirrored to one deployment, not to {len(to)} ({', '.join(to)})")
        return mirror

    @model_validator(mode="after")
    def _live_or_mirrored(self) -> Self:
        for name, share in self.mirror_traffic.items():
            if share and (live := self.traffic.get(name, 0)):
                raise ValueError(
                    f"{name} would get {live} % of the traffic and {share} % of it mirrored: it is one or the other"
                )
        return self


class CodeConfiguration(Spec):
    code: str
    scoring_script: str


class InlineModel(Spec):
    """A model that is written out in a deployment; it is registered when the deployment is made."""

    not_yet: ClassVar[frozenset[str]] = ModelSpec.not_yet
    name: str | None = None
    version: str | None = Field(default=None, coerce_numbers_to_str=True)
    type: Literal["mlflow_model", "custom_model"] = "custom_model"
    path: str
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])


class RequestSettings(Spec):
    request_timeout_ms: int = Field(default=5000, ge=1, le=REQUEST_TIMEOUT_MS_MAX)
    max_concurrent_requests_per_instance: int = Field(
        default=64, ge=1, description="64 by default: waiting requests are answered in one call"
    )
    max_queue_wait_ms: int = Field(default=500, ge=0)
    idempotent: bool = Field(default=False, description="ours")


class DefaultScale(Spec):
    """As many replicas as `instance_count` says."""

    type: Literal["default"]


class TargetUtilization(Spec):
    """Replicas follow the requests in flight, between two numbers."""

    type: Literal["target_utilization"]
    min_instances: int = Field(default=1, ge=0, le=REPLICAS_MAX)
    max_instances: int = Field(default=1, ge=1, le=REPLICAS_MAX)
    target_utilization_percentage: int = Field(default=70, ge=1, le=100)
    polling_interval: Seconds = Field(default=1, ge=1, le=3600, description="seconds")
    cooldown: Seconds = Field(default=300, ge=0, le=86_400, description="seconds")
    idle_time_before_scale_down: Seconds = Field(default=900, ge=0, le=86_400, description="seconds")
    scale_up_timeout: Seconds = Field(default=60, ge=0, le=600, description="seconds")

    @model_validator(mode="after")
    def _min_up_to_max(self) -> Self:
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances is {self.min_instances}, more than max_instances, {self.max_instances}")
        return self


class ProbeSettings(Spec):
    not_yet: ClassVar[frozenset[str]] = frozenset({"path", "port", "method", "scheme"})
    initial_delay: Seconds = Field(default=10, ge=0, le=86_400, description="seconds")
    period: Seconds = Field(default=10, ge=1, le=3600, description="seconds")
    timeout: Seconds = Field(default=2, ge=1, le=3600, description="seconds")
    success_threshold: int = Field(default=1, ge=1, le=1000)
    failure_threshold: int = Field(default=30, ge=1, le=1000)


class DeploymentSpec(Spec):
    """Azure ML's managed online deployment; `compute` is ours: an inferencing target, `local` by default."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"model_mount_path", "properties", "environment_image", "package"})
    types_not_yet: ClassVar[frozenset[str]] = frozenset({"kubernetes"})
    type: Literal["managed"] = "managed"
    name: str
    endpoint_name: str
    model: str | InlineModel
    code_configuration: CodeConfiguration | None = None
    environment: str | EnvironmentSpec | None = None
    environment_variables: dict[str, str] = Field(default_factory=dict[str, str])
    instance_type: str = "cpu-1"
    instance_count: int = Field(default=1, ge=0, le=REPLICAS_MAX)
    scale_settings: Annotated[DefaultScale | TargetUtilization, Field(discriminator="type")] | None = None
    compute: str = LOCAL
    request_settings: RequestSettings = RequestSettings()
    liveness_probe: ProbeSettings = ProbeSettings()
    readiness_probe: ProbeSettings = ProbeSettings()
    data_collector: DataCollector | None = None
    batching_enabled: bool = Field(default=True, description="ours")
    onnx_enabled: bool = Field(default=True, description="ours")
    smoke_test_enabled: bool = Field(default=True, description="ours")
    app_insights_enabled: bool = False
    egress_public_network_access: Literal["enabled"] = "enabled"
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])

    @field_validator("egress_public_network_access", mode="before")
    @classmethod
    def _enabled(cls, access: object) -> object:
        return _only_enabled(access)

    @field_validator("environment_variables", mode="before")
    @classmethod
    def _as_text(cls, variables: object) -> object:
        """`WORKER_COUNT: 2` is what people write; a variable's value is text."""
        if not isinstance(variables, dict):
            return variables
        given = cast("dict[object, object]", variables)
        return {name: str(value) if type(value) in (int, float) else value for name, value in given.items()}

    @field_validator("environment_variables")
    @classmethod
    def _workers(cls, variables: dict[str, str]) -> dict[str, str]:
        written = variables.get(WORKER_COUNT, AUTO)
        is_number = written.isascii() and written.isdigit() and 1 <= int(written) <= WORKERS_MAX
        if not is_number and written.lower() != AUTO:
            raise ValueError(f"{WORKER_COUNT} is {written!r}, and can be 1 to {WORKERS_MAX}, or {AUTO}")
        return variables

    @model_validator(mode="after")
    def _count_between(self) -> Self:
        scale = self.elastic
        if scale is None or "instance_count" not in self.model_fields_set:
            return self
        if not scale.min_instances <= self.instance_count <= scale.max_instances:
            raise ValueError(
                f"instance_count is {self.instance_count}, and scale_settings say "
                f"{scale.min_instances} to {scale.max_instances}"
            )
        return self

    @property
    def elastic(self) -> TargetUtilization | None:
        """How its replicas follow the requests; None where `instance_count` says how many there are."""
        return self.scale_settings if isinstance(self.scale_settings, TargetUtilization) else None

    @property
    def count_at_first(self) -> int:
        """How many replicas it begins with. One is made even where none need be kept: whether it loads is found out."""
        if self.elastic is None:
            return self.instance_count
        asked = self.instance_count if "instance_count" in self.model_fields_set else 0
        return max(asked, self.elastic.min_instances, 1)

    @property
    def collected(self) -> dict[str, float]:
        """By collection, which part of the requests is kept; empty where nothing is."""
        return {} if self.data_collector is None else self.data_collector.shares

    def workers(self, cpus: int) -> int:
        """How many processes answer in each replica, which has so many CPUs."""
        written = self.environment_variables.get(WORKER_COUNT, "1").lower()
        return min(WORKERS_MAX, max(1, cpus)) if written == AUTO else int(written)

    @property
    def hold_s(self) -> float:
        """How long a request may wait for the first replica to come; 0 where there always is one."""
        return 0 if self.elastic is None or self.elastic.min_instances else self.elastic.scale_up_timeout


def _only_enabled(access: object) -> object:
    """Azure's switch for private networks, in any case. Nothing of that kind is there, and no promise is broken."""
    if isinstance(access, str) and access.lower() == "disabled":
        raise ValueError("'disabled' is not supported yet: who reaches the gateway's address reaches its endpoints")
    return access.lower() if isinstance(access, str) else access


class DeploymentStatus(StrEnum):
    """Azure's provisioning states."""

    CREATING = "Creating"
    UPDATING = "Updating"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DELETING = "Deleting"
    DELETED = "Deleted"


class DeploymentEvent(StrEnum):
    ALL_ANSWER = "all_answer"
    SCALED = "scaled"
    GAVE_UP = "gave_up"
    CHANGE_ASKED = "change_asked"
    DELETE_ASKED = "delete_asked"
    REPLICAS_ENDED = "replicas_ended"


S, E = DeploymentStatus, DeploymentEvent
DEPLOYMENT = Machine(
    noun="deployment",
    initial=S.CREATING,
    table={
        (S.CREATING, E.ALL_ANSWER): S.SUCCEEDED,
        (S.UPDATING, E.ALL_ANSWER): S.SUCCEEDED,
        (S.FAILED, E.ALL_ANSWER): S.SUCCEEDED,  # a change that had failed: what ran before it goes on, and is kept up
        (S.SUCCEEDED, E.SCALED): S.SUCCEEDED,
        (S.FAILED, E.SCALED): S.FAILED,  # likewise: what goes on follows the requests as before
        (S.UPDATING, E.SCALED): S.UPDATING,  # and while a change is under way, however long it waits for room
        (S.CREATING, E.GAVE_UP): S.FAILED,
        (S.UPDATING, E.GAVE_UP): S.FAILED,
        (S.DELETING, E.REPLICAS_ENDED): S.DELETED,
    }
    | {(s, E.CHANGE_ASKED): S.UPDATING for s in (S.CREATING, S.UPDATING, S.SUCCEEDED, S.FAILED)}
    | {(s, E.DELETE_ASKED): S.DELETING for s in (S.CREATING, S.UPDATING, S.SUCCEEDED, S.FAILED)},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    workspace: str
    name: str
    spec: EndpointSpec
    keys_sha256: tuple[str, str]
    keys_sealed: str  #: both keys, encrypted at rest: `get-credentials` shows them again
    traffic_before: Mapping[str, int] | None = None  #: until it was changed last: what `rollback` brings back
    version: int = 1
    created_at: datetime

    def with_spec(self, spec: EndpointSpec) -> "Endpoint":
        """Where the traffic is another, it remembers what it was before."""
        is_moved = spec.traffic != self.spec.traffic
        return replace(self, spec=spec, traffic_before=self.spec.traffic if is_moved else self.traffic_before)

    def with_traffic(self, traffic: Mapping[str, int]) -> "Endpoint":
        """Nothing is mirrored any more to a deployment that gets a share."""
        mirror = {name: share for name, share in self.spec.mirror_traffic.items() if not traffic.get(name)}
        changes = {"traffic": dict(traffic), **({"mirror_traffic": mirror} if self.spec.mirror_traffic else {})}
        return self.with_spec(self.spec.model_copy(update=changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    id: str
    workspace: str
    endpoint: str
    name: str
    spec: DeploymentSpec
    serving: dict[str, Any]  #: what was resolved at creation: model's snapshot, environment; replicas need no registry
    replicas_made: int = 0  #: numbers its replicas; never goes back
    replicas_old: int = 0  #: up to this number they are of before a change that takes new ones
    replicas_wanted: int = 0  #: how many follow the requests now, where `scale_settings` say so
    came_up: bool = False  #: once all its replicas have answered: no change that fails takes them away
    status: DeploymentStatus = DEPLOYMENT.initial
    reason: str = ""
    version: int = 1
    created_at: datetime
    changed_at: datetime

    @property
    def place(self) -> tuple[str, str]:
        """What the gateway counts its requests under."""
        return f"{self.workspace}/{self.endpoint}", self.name

    @property
    def wanted(self) -> int:
        """How many replicas there shall be."""
        return self.spec.instance_count if self.spec.elastic is None else self.replicas_wanted

    @property
    def goes_on(self) -> bool:
        """Whether it answers as it did before, though a change of it may be under way, or have failed."""
        return self.status is S.SUCCEEDED or (self.status in (S.UPDATING, S.FAILED) and self.came_up)

    def after(self, event: DeploymentEvent, *, now: datetime, reason: str = "") -> "Deployment":
        """Why a change has failed is said until there is another, whatever the requests need meanwhile.

        What they need is no change either: what has failed since the last one counts.
        """
        is_changing_too = self.status is S.UPDATING and event is E.SCALED
        return replace(
            self,
            status=DEPLOYMENT.next(self.status, event),
            reason=self.reason if self.status is S.FAILED and event is E.SCALED else reason,
            came_up=self.came_up or event is E.ALL_ANSWER,
            version=self.version + 1,
            changed_at=self.changed_at if is_changing_too else now,
        )
