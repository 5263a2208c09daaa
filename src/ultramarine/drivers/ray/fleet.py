"""What Ray's autoscaler is told of our clusters: pure.

A cluster is a node type with a resource of its own, one on each node, which every allocation of the cluster asks for.
So the autoscaler brings a machine for an allocation that waits, up to the cluster's maximum, and for nothing else. The
resource has the size in its name: on a machine of the size that a compute instance had before, it is not put again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ultramarine.domain.allocation import Allocation, AllocationStatus
from ultramarine.domain.compute import Compute
from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.names import ComputeId
from ultramarine.domain.size import Amount
from ultramarine.domain.spec import refused

S = AllocationStatus
NEEDS_MACHINE = frozenset({S.WANTED, S.STARTING, S.UP, S.DRAINING})
HOLDS_MACHINE = frozenset({S.UP, S.DRAINING, S.RELEASING})
HEAD = "head"
SECRET_THERE = "~/.ultramarine/ray"  #: the folder with the token, on machines that Ray's updaters set up
Configuration = Mapping[str, Any]


class ProviderFile(BaseModel):
    """Where machines come from, as an operator writes it. What is Ray's own keeps Ray's own name and form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: dict[str, Any]  #: Ray's `provider:` section
    auth: dict[str, Any] = Field(default_factory=dict[str, Any])
    docker: dict[str, Any] = Field(default_factory=dict[str, Any])
    node_config: dict[str, Any] = Field(default_factory=dict[str, Any])  #: of every machine
    sizes: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])  #: `node_config` by size
    clusters: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])  #: by `WORKSPACE/NAME`
    file_mounts: dict[str, str] = Field(default_factory=dict[str, str])
    initialization_commands: list[str] = Field(default_factory=list[str])
    setup_commands: list[str] = Field(default_factory=list[str])
    start_commands: list[str] = Field(default_factory=list[str])  #: Ray's `worker_start_ray_commands`
    idle_timeout_minutes: float = Field(default=1.0, gt=0)
    pythonpath: list[str] = Field(default_factory=list[str])  #: folders with the provider's module and packages


def read(path: Path) -> ProviderFile:
    """The file of `ULTRAMARINE_RAY_PROVIDER`. Raises `InvalidInput` with the name of what is wrong in it."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        made = ProviderFile.model_validate(found)
    except OSError as error:
        raise InvalidInput(
            f"ULTRAMARINE_RAY_PROVIDER: {path} cannot be read: {error.strerror}.", hint="Name a YAML file."
        ) from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"ULTRAMARINE_RAY_PROVIDER: {path} is no YAML: {error}", hint="Mend it.") from error
    except ValidationError as error:
        raise refused(error, what=f"{path}") from None
    if "type" not in made.provider:
        raise InvalidInput(f"{path}: provider has no type.", hint="provider: {type: aws}, or another that Ray knows.")
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the configuration says of this installation: `name` sets its machines apart from those of others."""

    name: str
    address: str  #: of Ray's head
    token: Path
    state: Path  #: where the provider tells what it sees


def type_of(compute: ComputeId) -> str:
    """The name of a cluster's node type."""
    return f"um-{compute}"


def resource(compute: ComputeId, size: Amount) -> str:
    """What each machine of a cluster has one of, and nothing else has."""
    return f"{type_of(compute)}-{size.cpus_milli}-{size.memory_bytes}-{size.gpus}"


def bundle(allocation: Allocation) -> dict[str, float]:
    """What an allocation asks of Ray: a node of its cluster, whole."""
    gpus = {"GPU": float(allocation.capacity.gpus)} if allocation.capacity.gpus else {}
    return {resource(allocation.compute, allocation.capacity): 1.0, **gpus}


def machines(compute: Compute, held: Sequence[AllocationStatus], *, there: int, is_draining: bool) -> int:
    """How many machines a cluster may have now. `held`: the statuses of its allocations; `there`: machines it has.

    As many as its allocations need, for Ray counts what waits for a moment as need for one more. Those that nobody
    needs stay until Ray finds them idle, which it does with care; while the service is being stopped they go at once.
    """
    needed = sum(status in NEEDS_MACHINE for status in held)
    holding = sum(status in HOLDS_MACHINE for status in held)  # never fewer: what works would be taken away
    wanted = needed if is_draining else max(needed, there)
    return max(min(compute.max_instances, wanted), holding)


def render(
    file: ProviderFile,
    site: Site,
    wanted: Mapping[ComputeId, tuple[Compute, int]],
    *,
    previous: Configuration,
    gone: Collection[str],
) -> Configuration:
    """The whole configuration. `wanted`: clusters with the machines that each may have; `gone`: node types, not wanted
    any more, of which no machine is left.

    A node type that is left out while a machine of it lives wedges the autoscaler: it stays until then, with none.
    """
    types = {type_of(id): _node_type(file, compute, count) for id, (compute, count) in wanted.items()}
    for name, before in previous.get("available_node_types", {}).items():
        if name not in types and name not in gone and name != HEAD:
            types[name] = {**before, "max_workers": 0}
    has_updaters = not file.provider.get("disable_node_updaters", False)
    return {
        "cluster_name": site.name,
        "max_workers": sum(each["max_workers"] for each in types.values()),
        "upscaling_speed": 1000,
        "idle_timeout_minutes": file.idle_timeout_minutes,
        "provider": _provider(file, site),
        "auth": file.auth,
        "docker": file.docker,
        "head_node_type": HEAD,
        "available_node_types": {
            HEAD: {"resources": {}, "node_config": {}, "min_workers": 0, "max_workers": 0},
            **types,
        },
        "file_mounts": {SECRET_THERE: str(site.token.parent), **file.file_mounts} if has_updaters else {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": file.initialization_commands,
        "setup_commands": file.setup_commands,
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": file.start_commands or _start_commands(site),
    }


def is_as_before(made: Configuration, previous: Configuration) -> bool:
    """Whether it differs in numbers of machines at most."""
    return _without_numbers(made) == _without_numbers(previous)


def _without_numbers(configuration: Configuration) -> Configuration:
    types = configuration.get("available_node_types", {})
    plain = {name: {**each, "max_workers": 0} for name, each in types.items()}
    return {**configuration, "max_workers": 0, "available_node_types": plain}


def _provider(file: ProviderFile, site: Site) -> Mapping[str, Any]:
    """Ours around theirs: it adds the head, which is no machine of theirs, and tells what it sees."""
    ours = {"head": site.address, "token": str(site.token)}
    theirs = {**file.provider, "ultramarine": ours}
    return {
        **theirs,
        "type": "external",
        "module": "ultramarine_fleet.Provider",
        "inner": theirs,
        "state": str(site.state),
        "pythonpath": file.pythonpath,
    }


def _node_type(file: ProviderFile, compute: Compute, count: int) -> Mapping[str, Any]:
    size = compute.size
    named = file.clusters.get(f"{compute.workspace}/{compute.name}", {})
    # What is asked of it is its own resource and its GPUs; a machine of 4 GiB has a little less than that.
    resources = {"CPU": max(1, size.cpus_milli // 1000), resource(compute.id, size): 1}
    return {
        "resources": resources | ({"GPU": size.gpus} if size.gpus else {}),
        "node_config": file.node_config | file.sizes.get(compute.size_name, {}) | named,
        "min_workers": 0,
        "max_workers": count,
    }


def _start_commands(site: Site) -> list[str]:
    authorised = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={SECRET_THERE}/token"
    port = site.address.rpartition(":")[2]
    return ["ray stop", f"chmod -R go= {SECRET_THERE}; {authorised} ray start --address=$RAY_HEAD_IP:{port}"]
