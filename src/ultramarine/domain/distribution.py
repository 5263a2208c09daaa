"""How the processes of a job find each other: Azure ML's `distribution`, one model for each `type`."""

from typing import Annotated, Any, ClassVar, Literal

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


class Ray(Spec):
    """A Ray of the job's own over its nodes; the command runs on the first of them."""

    not_yet: ClassVar[frozenset[str]] = frozenset(
        {
            "address",
            "port",
            "include_dashboard",
            "dashboard_port",
            "head_node_additional_args",
            "worker_node_additional_args",
        }
    )
    type: Literal["ray"]


Distribution = Annotated[PyTorch | TensorFlow | Mpi | Ray, Field(discriminator="type")]


def problem(distribution: Distribution, instance_count: int) -> str | None:
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


def run_fields(distribution: Distribution | None, instance_count: int) -> dict[str, Any]:
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
    processes = 1 if isinstance(distribution, Ray) else distribution.process_count_per_instance
    return {"distribution": distribution.type, "processes_per_node": processes}
