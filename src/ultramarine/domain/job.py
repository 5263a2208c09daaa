"""A command job: what the user asked for. What happened since is in its runs (`domain/run.py`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ultramarine.domain.data import SNAPSHOT
from ultramarine.domain.distribution import Distribution, problem
from ultramarine.domain.environment import EnvironmentSpec
from ultramarine.domain.expression import Expressions
from ultramarine.domain.names import JobId
from ultramarine.domain.run import Tier
from ultramarine.domain.size import Amount, memory_bytes
from ultramarine.domain.spec import Spec

Literally = str | int | float | bool
NOTEBOOK = "notebook"  #: the output that holds the executed notebook
PRIORITIES: Mapping[str, int] = {"low": -1, "medium": 0, "high": 1}


class Input(Spec):
    """An input that is a file, a folder, or a typed literal (`default` in a component is `value` here)."""

    not_yet: ClassVar[frozenset[str]] = frozenset(
        {"path_on_compute", "datastore", "min", "max", "enum", "description", "default"}
    )
    type: Literal["uri_file", "uri_folder", "string", "integer", "number", "boolean"] = "uri_folder"
    path: str | None = None
    mode: Literal["ro_mount", "download"] = "ro_mount"
    optional: bool = False
    value: Literally | None = None

    @property
    def is_file(self) -> bool:
        return self.type in ("uri_file", "uri_folder")


class Output(Spec):
    not_yet: ClassVar[frozenset[str]] = frozenset({"path", "name", "version"})
    type: Literal["uri_file", "uri_folder", "mlflow_model", "custom_model"] = "uri_folder"
    mode: Literal["upload", "rw_mount"] = "rw_mount"
    description: str = ""


class Resources(Spec):
    not_yet: ClassVar[frozenset[str]] = frozenset(
        {"shm_size", "docker_args", "instance_type", "locations", "properties", "max_instance_count"}
    )
    instance_count: int = Field(default=1, ge=1, le=1000)
    cpus: float | None = Field(default=None, gt=0, le=4096, description="CPUs of each node; ours")
    memory: str | None = Field(default=None, description="memory of each node, as 512Mi or 4Gi; ours")
    gpus: int | None = Field(default=None, ge=0, le=1024, description="GPUs of each node; ours")

    @field_validator("memory")
    @classmethod
    def _is_an_amount(cls, value: str | None) -> str | None:
        if value is not None:
            memory_bytes(value)
        return value

    def part_of(self, node: Amount) -> Amount | None:
        """What it takes of each node; None: whole nodes. What is not given goes with the largest part that is."""
        if self.cpus is None and self.memory is None and self.gpus is None:
            return None
        asked = Amount(
            cpus_milli=round((self.cpus or 0) * 1000),
            memory_bytes=memory_bytes(self.memory) if self.memory else 0,
            gpus=self.gpus or 0,
        )
        part = min(1.0, asked.share_of(node))
        return Amount(
            cpus_milli=asked.cpus_milli or max(1, round(node.cpus_milli * part)),
            memory_bytes=asked.memory_bytes or round(node.memory_bytes * part),
            gpus=asked.gpus,
        )


class Limits(Spec):
    timeout: int | None = Field(default=None, ge=1, description="seconds")


class QueueSettings(Spec):
    job_tier: Literal["null", "spot", "basic", "standard", "premium"] = "null"
    priority: Literal["low", "medium", "high"] = "medium"

    @field_validator("job_tier", "priority", mode="before")
    @classmethod
    def _in_any_case(cls, value: Any) -> Any:
        """Azure ML writes `Spot` as well as `spot`; YAML reads `null` as no value."""
        return "null" if value is None else value.lower() if isinstance(value, str) else value

    @property
    def tier(self) -> Tier:
        return Tier.STANDARD if self.job_tier == "null" else Tier(self.job_tier)


class JobSpec(Spec):
    """Azure ML's `commandJob` schema; `retries` is ours. It never changes after the job is created."""

    not_yet: ClassVar[frozenset[str]] = frozenset(
        {"identity", "services", "parent_job_name", "component", "trial", "jobs", "settings"}
    )
    types_not_yet: ClassVar[frozenset[str]] = frozenset(
        {"pipeline", "sweep", "parallel", "spark", "automl", "import", "finetuning", "distillation"}
    )
    type: Literal["command"] = "command"
    name: str | None = None
    command: str | None = Field(default=None, min_length=1)
    notebook: str | None = None
    parameters: dict[str, Literally] = Field(default_factory=dict[str, Literally])
    code: str | None = None
    inputs: dict[str, Input | Literally] = Field(default_factory=dict[str, Input | Literally])
    outputs: dict[str, Output] = Field(default_factory=dict[str, Output])
    environment: str | EnvironmentSpec
    environment_variables: dict[str, str] = Field(default_factory=dict[str, str])
    compute: str
    resources: Resources = Resources()
    distribution: Distribution | None = None
    limits: Limits = Limits()
    queue_settings: QueueSettings = QueueSettings()
    experiment_name: str = "Default"
    display_name: str = ""
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])
    retries: int = Field(default=0, ge=0, le=10)

    @field_validator("environment_variables", "tags", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """YAML reads `OMP_NUM_THREADS: 1` as a number; what is meant is its text."""
        if not isinstance(value, Mapping):
            return value
        return {k: str(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType]

    @field_validator("notebook")
    @classmethod
    def _is_below_code(cls, notebook: str | None) -> str | None:
        if notebook is None:
            return None
        parts = notebook.split("/")
        if not notebook.endswith(".ipynb") or any(part in ("", ".", "..") for part in parts):
            raise ValueError("it is the path of a .ipynb file below code, as train.ipynb")
        return notebook

    @field_validator("parameters")
    @classmethod
    def _are_variables(cls, parameters: dict[str, Literally]) -> dict[str, Literally]:
        if wrong := [name for name in parameters if not name.isidentifier()]:
            raise ValueError(f"{wrong[0][:80]!r} cannot be the name of a variable in the notebook")
        return parameters

    @model_validator(mode="after")
    def _one_thing_to_run(self) -> Self:
        if (self.command is None) == (self.notebook is None):
            raise ValueError("command: it is needed (or, ours, notebook in its place)")
        if self.notebook is None:
            if self.parameters:
                raise ValueError("parameters: they are a notebook's; a command gets inputs")
            return self
        if self.code is None:
            raise ValueError("code: the folder with the notebook is needed")
        if self.distribution is not None or self.resources.instance_count > 1:
            raise ValueError("notebook: it runs on one node, without distribution")
        if NOTEBOOK in self.outputs:
            raise ValueError(f"outputs.{NOTEBOOK}: the executed notebook has this name")
        return self

    @model_validator(mode="after")
    def _fits_its_nodes(self) -> Self:
        if self.distribution is not None and (words := problem(self.distribution, self.resources.instance_count)):
            raise ValueError(words)
        return self

    def file_inputs(self) -> dict[str, Input]:
        return {n: i for n, i in self.inputs.items() if isinstance(i, Input) and i.is_file and i.path is not None}

    def expressions(self) -> Expressions:
        literals: dict[str, str] = {}
        absent: list[str] = []
        for name, given in self.inputs.items():
            value = given.value if isinstance(given, Input) else given
            if isinstance(given, Input) and given.is_file and given.path is not None:
                continue
            if value is None:
                absent.append(name)
            else:
                literals[name] = str(value).lower() if isinstance(value, bool) else str(value)
        return Expressions(literals=literals, files=list(self.file_inputs()), absent=absent, outputs=list(self.outputs))

    def all_outputs(self) -> dict[str, Output]:
        """With that of a notebook, which nobody needs to name."""
        return self.outputs if self.notebook is None else {**self.outputs, NOTEBOOK: Output()}

    def local_paths(self) -> dict[str, str]:
        """Fields that still name a path of the client's machine, with it: they are uploaded before the job is sent."""
        found = {"code": self.code} | {f"inputs.{name}.path": given.path for name, given in self.file_inputs().items()}
        return {field: path for field, path in found.items() if path and not is_uploaded(path)}


def is_uploaded(path: str) -> bool:
    """Whether a `path:` names something that the server has, and not a local file."""
    return path.startswith((SNAPSHOT, "azureml:", "azureml://"))


class Tracking(StrEnum):
    """What the tracking server knows of a job."""

    UNKNOWN = "unknown"  #: nothing: the job has not touched it
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The request, and who made it. Its status is that of its newest run, number `attempt`."""

    id: JobId
    workspace: str
    name: str
    spec: JobSpec
    body_sha256: str  #: of the body it was created with: the same body again is the same job
    user: str
    attempt: int = 1
    created_at: datetime
