"""Environments: what is installed where a run runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from ultramarine.domain.machine import Machine
from ultramarine.domain.size import Amount
from ultramarine.domain.spec import Spec

_BASE_IMAGE = re.compile(r"(?:[\w.-]+/)?azureml/(?:openmpi|minimal|base)[\w.-]*(?::[\w.-]+)?")


class EnvironmentSpec(Spec):
    """An environment, by a conda file or by requirements.

    In the body that the server gets, `conda_file` is the file's content and `requirements` a list: the client reads the
    files.
    """

    not_yet: ClassVar[frozenset[str]] = frozenset({"build", "datastore", "inference_config", "os_type"})
    name: str | None = None
    version: str | None = Field(default=None, coerce_numbers_to_str=True)
    conda_file: str | dict[str, Any] | None = Field(
        default=None, description="a conda file: its content, as text or as a mapping"
    )
    image: str | None = Field(default=None, description="one of Azure ML's base images, beside a conda_file")
    requirements: list[str] | None = Field(default=None, description="ours: requirement lines, as pip takes them")
    python: str | None = Field(
        default=None, coerce_numbers_to_str=True, pattern=r"^3\.\d+$", description='ours: "3.11"'
    )
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])

    @field_validator("image")
    @classmethod
    def _one_that_the_machine_stands_for(cls, image: str | None) -> str | None:
        """Azure's base images hold a system and conda, no packages: here those are the machine and `conda_file`."""
        if image is not None and not _BASE_IMAGE.fullmatch(image):
            raise ValueError(f"{image[:80]!r} is not supported yet: only Azure ML's base images have a meaning here")
        return image

    @model_validator(mode="after")
    def _one_source(self) -> "EnvironmentSpec":
        if self.image is not None and self.conda_file is None:
            raise ValueError("image: a base image holds no packages: a conda_file beside it says which there are to be")
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


class Accelerator(StrEnum):
    """What packages are built for. Most are built for any machine, and are `cpu`."""

    CPU = "cpu"
    CUDA = "cuda"

    @classmethod
    def of(cls, amount: Amount) -> "Accelerator":
        """That of a part of a machine."""
        return cls.CUDA if amount.gpus else cls.CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What an environment came out as: its identity, and the blob that holds the lock."""

    digest: str  #: over lock, Python, platform and accelerator: the same in job, notebook and endpoint
    lock: str  #: the lock file's sha256
    python: str
    packages: int
    accelerator: Accelerator = Accelerator.CPU
    others: tuple["Locked", ...] = ()  #: for other accelerators: some curated environments have a lock for each

    def on(self, accelerator: Accelerator) -> "Locked":
        """The one for an accelerator; itself where there is none, for it does on any machine."""
        return self.by_accelerator.get(accelerator, self)

    @property
    def by_accelerator(self) -> Mapping[Accelerator, "Locked"]:
        return {one.accelerator: one for one in (self, *self.others)}


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
