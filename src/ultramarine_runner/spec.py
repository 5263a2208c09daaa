"""What the control plane sends: the desired state of this node. Everything is checked before it is used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9._-]{1,120}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
PHASES = ("prepare", "go", "stop")
MODES = ("task", "service", "instance")
_VARIABLE = re.compile(r"[^=\0]+")


class BadSpec(Exception):
    """A desired run that cannot be taken as it is; says which field, and what was there."""


@dataclass(frozen=True)
class Environment:
    """A locked environment; `lock` is the sha256 of the lock file."""

    digest: str
    python: str
    lock: str
    options: Mapping[str, Any]
    is_optional: bool = False  #: the run goes on without it where it cannot be had


@dataclass(frozen=True)
class Input:
    """A snapshot that the run reads. `mode` is `ro_mount` or `download`."""

    name: str
    variable: str | None
    snapshot: str
    mode: str
    kind: str


@dataclass(frozen=True)
class Output:
    """A folder (or, for `uri_file`, a file) that the run writes."""

    name: str
    kind: str


@dataclass(frozen=True)
class Checkpoint:
    """The folder that outlives attempts: what it begins with, and how often it is looked at."""

    snapshot: str | None
    every_s: float
    is_home: bool = False  #: the home folder of a compute instance, and not what a job keeps


@dataclass(frozen=True)
class Limits:
    """None means no limit."""

    timeout_s: float | None = None
    memory_bytes: int | None = None
    log_bytes: int | None = None
    processes: int | None = None  #: threads count too
    disk_bytes: int | None = None  #: what it may write into its folder
    cpus: float | None = None  #: its weight when all CPUs are busy; it is never held below that
    of: str = "its node"  #: what has that much memory, in words for people
    hint: str = "Ask for a larger size."


@dataclass(frozen=True)
class Spec:
    """What a run is."""

    mode: str
    workspace: str
    name: str
    node_rank: int
    nodes: int
    gpus: tuple[str, ...] | None  #: those of the node that it may use; None: all
    processes_per_node: int
    distribution: str | None
    tasks: Mapping[str, int]  #: TensorFlow's processes by type, over all nodes
    command: str | None
    argv: tuple[str, ...] | None
    environment_variables: Mapping[str, str]
    secret_variables: Mapping[str, str]
    environment: Environment | None
    behind: tuple[Environment, ...]
    code: str | None
    files: tuple[tuple[str, str], ...]  #: (path, sha256)
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    limits: Limits
    sockets: tuple[str, ...]
    token: str
    checkpoint: Checkpoint | None = None
    collects: bool = False  #: what it writes to `{{collected}}` is shipped as it grows
    ports: tuple[str, ...] = ()  #: where it listens for other machines, by name
    secret_files: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)  #: their content, by name
    home: str | None = None  #: the name of a folder of this node that outlives the run

    @property
    def ranks(self) -> range:
        """The numbers of this node's processes."""
        if self.tasks:
            return range(self.node_rank, sum(self.tasks.values()), self.nodes)
        first = self.node_rank * self.processes_per_node
        return range(first, first + self.processes_per_node)

    @property
    def world_size(self) -> int:
        """How many processes there are on all nodes."""
        return sum(self.tasks.values()) or self.nodes * self.processes_per_node

    def on(self, gpus: Sequence[str]) -> Spec:
        """With the names of its GPUs where it has `#N`: the N-th of the node's `gpus`. Raises `BadSpec`."""
        if self.gpus is None:
            return self
        try:
            named = tuple(gpus[int(gpu[1:])] if gpu.startswith("#") else gpu for gpu in self.gpus)
        except (IndexError, ValueError):
            asked = ", ".join(self.gpus)
            raise BadSpec(f"gpus: {asked} are asked for, and the node was given {len(gpus)}.") from None
        return replace(self, gpus=named)

    @property
    def is_service(self) -> bool:
        """Runs until it is stopped, and goes on when the lease is over: it writes nothing that others read."""
        return self.mode == "service"


@dataclass(frozen=True)
class Peer:
    """Where the processes of one node may listen."""

    address: str
    ports: tuple[int, ...]


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a run now."""

    phase: str  #: prepare, go, stop or absent
    grace_s: float = 10.0
    peers: tuple[Peer, ...] = ()  #: every node's, in their order
    master: tuple[str, int] | None = None


def is_name(value: Any) -> bool:
    """Whether it is safe as one part of a path."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None and value not in (".", "..")


def name(value: Any, field: str) -> str:
    """A name that is safe as one part of a path."""
    if not is_name(value):
        raise BadSpec(f"{field}: {value!r} is no name of letters, digits, '.', '_' and '-'.")
    return value


def sha256(value: Any, field: str) -> str:
    """A content hash."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise BadSpec(f"{field}: {value!r} is no sha256.")
    return value


def relative(value: Any, field: str) -> str:
    """A path that stays below its folder."""
    parts = value.split("/") if isinstance(value, str) else [""]
    if any(part in ("", ".", "..") or "\0" in part or len(part.encode()) > 255 for part in parts):
        raise BadSpec(f"{field}: {value!r} is no path inside its folder.")
    return "/".join(parts)


def wanted(raw: Mapping[str, Any]) -> Wanted:
    """One entry of `runs`, without its spec; BadSpec when it cannot be read."""
    try:
        master = raw.get("master")
        found = Wanted(
            phase=str(raw["phase"]),
            grace_s=float(raw.get("grace_s") or 0.0),
            peers=tuple(
                Peer(str(peer["address"]), tuple(int(port) for port in peer["ports"]))
                for peer in raw.get("peers") or ()
            ),
            master=(str(master["address"]), int(master["port"])) if master else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadSpec(f"The entry cannot be read: {type(error).__name__} {error}.") from error
    if found.phase not in PHASES:
        raise BadSpec(f"phase: {found.phase!r} is none of {', '.join(PHASES)}.")
    return found


def read(raw: Mapping[str, Any]) -> Spec:
    """A spec, or BadSpec."""
    try:
        return _read(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadSpec(f"The spec cannot be read: {type(error).__name__} {error}.") from error


def _read(raw: Mapping[str, Any]) -> Spec:
    code, argv = raw.get("code"), raw.get("argv")
    limits: Mapping[str, Any] = raw.get("limits") or {}
    if raw["mode"] not in MODES:
        raise BadSpec(f"mode: {raw['mode']!r} is none of {', '.join(MODES)}.")
    if (argv is None) == (raw.get("command") is None):
        raise BadSpec("Exactly one of command and argv is wanted.")
    return Spec(
        mode=raw["mode"],
        workspace=str(raw.get("workspace") or "default"),
        name=str(raw.get("name") or ""),
        node_rank=int(raw.get("node_rank") or 0),
        nodes=int(raw.get("nodes") or 1),
        gpus=None if raw.get("gpus") is None else tuple(str(gpu) for gpu in raw["gpus"]),
        processes_per_node=int(raw.get("processes_per_node") or 1),
        distribution=raw.get("distribution"),
        tasks=_tasks(raw.get("tasks") or {}),
        command=raw.get("command"),
        argv=tuple(str(part) for part in argv) if argv is not None else None,
        environment_variables=_variables(raw.get("environment_variables")),
        secret_variables=_variables(raw.get("secret_variables")),
        environment=_environment(raw["environment"]) if raw.get("environment") else None,
        behind=tuple(_environment(one) for one in raw.get("behind") or ()),
        code=sha256(code["snapshot"], "code.snapshot") if code else None,
        files=tuple(
            (relative(f["path"], "files.path"), sha256(f["sha256"], "files.sha256")) for f in raw.get("files") or ()
        ),
        inputs=tuple(_input(one) for one in raw.get("inputs") or ()),
        outputs=tuple(
            Output(name(one["name"], "outputs.name"), str(one.get("kind") or "uri_folder"))
            for one in raw.get("outputs") or ()
        ),
        limits=Limits(**{field.name: limits[field.name] for field in fields(Limits) if limits.get(field.name)}),
        sockets=tuple(name(one, "sockets") for one in raw.get("sockets") or ()),
        token=str(raw.get("token") or ""),
        checkpoint=_checkpoint(raw["checkpoint"]) if raw.get("checkpoint") else None,
        collects=bool(raw.get("collects")),
        ports=tuple(name(one, "ports") for one in raw.get("ports") or ()),
        secret_files=_secret_files(raw.get("secret_files") or {}),
        home=name(raw["home"], "home") if raw.get("home") else None,
    )


def _variables(raw: Mapping[str, Any] | None) -> dict[str, str]:
    variables = {str(key): str(value) for key, value in (raw or {}).items()}
    for key, value in variables.items():
        if not _VARIABLE.fullmatch(key) or "\0" in value:
            raise BadSpec(
                f"environment_variables: {key!r} cannot be the name of a variable, or its value holds a zero byte."
            )
    return variables


def _secret_files(raw: Mapping[str, Any]) -> dict[str, str]:
    return {name(key, "secret_files"): str(text) for key, text in raw.items()}


def _tasks(raw: Mapping[str, Any]) -> dict[str, int]:
    return {str(kind): int(count) for kind, count in raw.items()}


def _environment(raw: Mapping[str, Any]) -> Environment:
    return Environment(
        digest=name(raw["digest"], "environment.digest"),
        python=str(raw["python"]),
        lock=sha256(raw["lock"], "environment.lock"),
        options=raw.get("options") or {},
        is_optional=bool(raw.get("is_optional")),
    )


def _checkpoint(raw: Mapping[str, Any]) -> Checkpoint:
    snapshot, every_s = raw.get("snapshot"), float(raw["every_s"])
    if not every_s > 0:
        raise BadSpec(f"checkpoint.every_s: {every_s} is not more than 0.")
    kept = sha256(snapshot, "checkpoint.snapshot") if snapshot else None
    return Checkpoint(kept, every_s, is_home=bool(raw.get("is_home")))


def _input(raw: Mapping[str, Any]) -> Input:
    mode = raw.get("mode") or "ro_mount"
    if mode not in ("ro_mount", "download"):
        raise BadSpec(f"inputs: mode {mode!r} is neither ro_mount nor download.")
    variable = raw.get("variable")
    return Input(
        name=name(raw["name"], "inputs.name"),
        variable=next(iter(_variables({variable: ""}))) if variable else None,
        snapshot=sha256(raw["snapshot"], "inputs.snapshot"),
        mode=mode,
        kind=str(raw.get("kind") or "uri_folder"),
    )
