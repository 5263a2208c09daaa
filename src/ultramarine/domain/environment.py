"""Environments: what is installed where a run runs."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field, model_validator

from ultramarine.domain.machine import Machine
from ultramarine.domain.spec import Spec


class EnvironmentSpec(Spec):
    """An environment, by a conda file or by requirements.

    In the body that the server gets, `conda_file` is the file's content and `requirements` a list: the client reads the
    files.
    """

    not_yet: ClassVar[frozenset[str]] = frozenset({"build", "datastore", "inference_config", "os_type", "image"})
    name: str | None = None
    version: str | None = Field(default=None, coerce_numbers_to_str=True)
    conda_file: str | dict[str, Any] | None = Field(
        default=None, description="a conda file: its content, as text or as a mapping"
    )
    requirements: list[str] | None = Field(default=None, description="ours: requirement lines, as pip takes them")
    python: str | None = Field(
        default=None, coerce_numbers_to_str=True, pattern=r"^3\.\d+$", description='ours: "3.11"'
    )
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])

    @model_validator(mode="after")
    def _one_source(self) -> "EnvironmentSpec":
        if (self.conda_file is None) == (self.requirements is None):
            raise ValueError("exactly one of conda_file and requirements is needed")
        return self


class EnvironmentStatus(StrEnum):
    RESOLVING = "Resolving"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class EnvironmentEvent(StrEnum):
    LOCKED = "locked"
    REFUSED = "refused"


ENVIRONMENT = Machine(
    noun="environment",
    initial=EnvironmentStatus.RESOLVING,
    table={
        (EnvironmentStatus.RESOLVING, EnvironmentEvent.LOCKED): EnvironmentStatus.SUCCEEDED,
        (EnvironmentStatus.RESOLVING, EnvironmentEvent.REFUSED): EnvironmentStatus.FAILED,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What an environment came out as: its identity, and the blob that holds the lock."""

    digest: str  #: over lock, Python and platform: the same in job, notebook and endpoint
    lock: str  #: the lock file's sha256
    python: str
    packages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    workspace: str
    name: str
    version: str
    spec: EnvironmentSpec
    locked: Locked | None = None
    is_curated: bool = False
    status: EnvironmentStatus = ENVIRONMENT.initial
    reason: str = ""
    created_at: datetime

    def after(self, event: EnvironmentEvent, *, reason: str = "") -> "Environment":
        return replace(self, status=ENVIRONMENT.next(self.status, event), reason=reason)
