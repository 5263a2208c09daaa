"""Online endpoints, a stable address each, and the deployments that stand behind them."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from ultramarine.domain.compute import LOCAL
from ultramarine.domain.machine import Machine
from ultramarine.domain.spec import Spec


class EndpointSpec(Spec):
    not_yet: ClassVar[frozenset[str]] = frozenset(
        {"identity", "public_network_access", "mirror_traffic", "compute", "kind", "properties"}
    )
    name: str
    auth_mode: Literal["key"] = "key"
    traffic: dict[str, int] = Field(default_factory=dict[str, int])
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])

    @field_validator("traffic")
    @classmethod
    def _shares(cls, traffic: dict[str, int]) -> dict[str, int]:
        if any(not 0 <= share <= 100 for share in traffic.values()):
            raise ValueError("each share of the traffic is 0 to 100 percent")
        if sum(traffic.values()) not in (0, 100):
            raise ValueError(f"the shares of the traffic add up to {sum(traffic.values())}, not to 100 (or all 0)")
        return traffic


class CodeConfiguration(Spec):
    code: str
    scoring_script: str


class RequestSettings(Spec):
    request_timeout_ms: int = Field(default=5000, ge=1, le=180_000)
    max_concurrent_requests_per_instance: int = Field(
        default=64, ge=1, description="64 by default: waiting requests are answered in one call"
    )
    max_queue_wait_ms: int = Field(default=500, ge=0)


class DeploymentSpec(Spec):
    """Azure ML's managed online deployment; `compute` is ours: an inferencing target, `local` by default."""

    not_yet: ClassVar[frozenset[str]] = frozenset(
        {
            "scale_settings",
            "readiness_probe",
            "data_collector",
            "model_mount_path",
            "egress_public_network_access",
            "type",
            "app_insights_enabled",
            "properties",
            "environment_image",
            "package",
            "liveness_probe",
        }
    )
    name: str
    endpoint_name: str
    model: str
    code_configuration: CodeConfiguration | None = None
    environment: str | None = None
    environment_variables: dict[str, str] = Field(default_factory=dict[str, str])
    instance_type: str = "cpu-1"
    instance_count: int = Field(default=1, ge=0, le=100)
    compute: str = LOCAL
    request_settings: RequestSettings = RequestSettings()
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])


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
    version: int = 1
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    id: str
    workspace: str
    endpoint: str
    name: str
    spec: DeploymentSpec
    serving: dict[str, Any]  #: what was resolved at creation: model's snapshot, environment; replicas need no registry
    replicas_made: int = 0  #: numbers its replicas; never goes back
    status: DeploymentStatus = DEPLOYMENT.initial
    reason: str = ""
    version: int = 1
    created_at: datetime
    changed_at: datetime

    def after(self, event: DeploymentEvent, *, now: datetime, reason: str = "") -> "Deployment":
        return replace(
            self, status=DEPLOYMENT.next(self.status, event), reason=reason, version=self.version + 1, changed_at=now
        )
