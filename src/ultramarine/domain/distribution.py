"""How the processes of a job find each other: Azure ML's `distribution`, one model for each `type`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ultramarine.domain.spec import Spec

PROCESSES_MAX = 4096


class PyTorch(Spec):
    type: Literal["pytorch"]
    process_count_per_instance: int = Field(default=1, ge=1, le=256)


class Mpi(Spec):
    type: Literal["mpi"]
    process_count_per_instance: int = Field(default=1, ge=1, le=256)


class TensorFlow(Spec):
    type: Literal["tensorflow"]
    worker_count: int | None = Field(default=None, ge=1, le=PROCESSES_MAX)
    parameter_server_count: int = Field(default=0, ge=0, le=PROCESSES_MAX)


Distribution = Annotated[PyTorch | TensorFlow | Mpi, Field(discriminator="type")]


def problem(distribution: PyTorch | TensorFlow | Mpi, instance_count: int) -> str | None:
    """What does not fit together, in words; None when all does."""
    if not isinstance(distribution, TensorFlow):
        return None
    workers, servers = distribution.worker_count or instance_count, distribution.parameter_server_count
    if workers + servers < instance_count:
        return (
            f"distribution: worker_count {workers} and parameter_server_count {servers} are {workers + servers}"
            f" processes, too few for resources.instance_count {instance_count}: each node has one at least"
        )
    return None


def run_fields(distribution: PyTorch | TensorFlow | Mpi | None, instance_count: int) -> dict[str, Any]:
    """The same in the words of the runner's protocol."""
    if distribution is None:
        return {"distribution": None, "processes_per_node": 1}
    if isinstance(distribution, TensorFlow):
        return {
            "distribution": distribution.type,
            "processes_per_node": 1,
            "tasks": {
                "worker": distribution.worker_count or instance_count,
                "ps": distribution.parameter_server_count,
            },
        }
    return {"distribution": distribution.type, "processes_per_node": distribution.process_count_per_instance}
