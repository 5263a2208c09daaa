"""What each rank is started with: arguments and environment. Pure, but for what it is given."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable

from . import distribution
from .spec import BadSpec, Spec, Wanted
from .trees import ALLOCATION, RUN_KEY

RANK_LOG = "std_log.txt"  #: what a rank writes to stdout and stderr, in a folder of its number
CHECKPOINT_DIR = "ULTRAMARINE_CHECKPOINT_DIR"
INHERITED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER",
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
_INHERITED = re.compile(r"(PIP|UV|SSL)_\w+|\w+_PROXY|\w+_proxy")
_PLACE = re.compile(
    r"\{\{(?:(input|output|socket|port|file|site|secret):([^{}]+)|(python|folder|collected|server|ca|cache|home))\}\}"
)
_CA = "{{ca}}"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Places:
    """Where a run's things are on this node: absolute paths, by name."""

    folder: str
    python: str
    virtual_env: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])
    sockets: Mapping[str, str] = field(default_factory=dict[str, str])
    ports: Mapping[str, str] = field(default_factory=dict[str, str])  #: `ADDRESS:PORT`, known when it is launched
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    sites: Mapping[str, str] = field(default_factory=dict[str, str])
    checkpoint: str | None = None
    collected: str = ""
    scratch: str | None = None  #: a folder with a short path
    server: str = ""  #: the installation's address, as this node reaches it
    cache: str = ""  #: a folder of this node that outlives runs
    home: str = ""  #: a folder that outlives the run; empty: it has none
    ca: str = ""  #: the file with what is trusted there; empty: what this machine trusts


@dataclass(frozen=True)
class Node:
    """Whom the run is on."""

    allocation: str
    gpus: tuple[str, ...]
    cpus: float
    inherited: Mapping[str, str]
    shell: str  #: bash, or sh where there is none

    @classmethod
    def here(cls, allocation: str, gpus: tuple[str, ...], cpus: float) -> Node:
        """This one."""
        shell = shutil.which("bash") or shutil.which("sh") or "/bin/sh"
        return cls(allocation, gpus, cpus, inherited(os.environ), shell)


@dataclass(frozen=True)
class Launch:
    """One rank to start."""

    rank: int
    argv: tuple[str, ...]
    environment: Mapping[str, str]


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """What a rank may have of the runner's own variables."""
    kept = {key: value for key, value in environment.items() if key in INHERITED or _INHERITED.fullmatch(key)}
    kept.setdefault("PATH", _PATH)
    return kept


def fill(text: str, places: Places, *, quote: Callable[[str], str] = str) -> str:
    """Replace `{{input:NAME}}` and its kin; BadSpec names one that is not there."""

    def path(match: re.Match[str]) -> str:
        noun, name, alone = match.groups()
        if alone:
            return quote(str(getattr(places, alone)))
        known: Mapping[str, str] = getattr(places, f"{noun}s")
        if name not in known:
            there = ", ".join(known) or "none"
            raise BadSpec(f"{match.group(0)} names no {noun} of this run. There: {there}.")
        return quote(known[name])

    return _PLACE.sub(path, text)


def launches(key: str, spec: Spec, places: Places, *, wanted: Wanted, node: Node) -> list[Launch]:
    """The ranks of this node, ready to start."""
    argv = _argv(spec, places, node.shell)
    shared = _environment(key, spec, places, node)
    if (program := distribution.program(spec)) is not None:
        log = os.path.join(os.path.dirname(places.folder), "logs")
        led = distribution.led_variables(
            spec, wanted, argv=argv, folder=places.folder, log=lambda rank: f"{shlex.quote(log)}/{rank}/{RANK_LOG}"
        )
        return [Launch(spec.ranks[0], program, {**shared, **led, **_scratch(spec, places, node)})]
    return [Launch(rank, argv, {**shared, **_rank_variables(spec, wanted, rank)}) for rank in spec.ranks]


def _scratch(spec: Spec, places: Places, node: Node) -> dict[str, str]:
    """What a Ray of the job's own needs to know of this node."""
    if places.scratch is None:
        return {}
    cpus = max(1, int(spec.limits.cpus or node.cpus))
    return {distribution.SCRATCH: places.scratch, distribution.CPUS: str(cpus)}


def _argv(spec: Spec, places: Places, shell: str) -> tuple[str, ...]:
    if spec.argv is not None:
        return tuple(fill(part, places) for part in spec.argv)
    return (shell, "-c", fill(spec.command or "", places, quote=shlex.quote))


def _environment(key: str, spec: Spec, places: Places, node: Node) -> dict[str, str]:
    variables = dict(node.inherited)
    variables["PATH"] = os.path.dirname(places.python) + os.pathsep + variables["PATH"]
    if places.virtual_env:
        variables["VIRTUAL_ENV"] = places.virtual_env
    variables["AZUREML_RUN_ID"] = spec.name
    variables["CUDA_VISIBLE_DEVICES"] = ",".join(node.gpus if spec.gpus is None else spec.gpus)
    variables.update({one.variable: places.inputs[one.name] for one in spec.inputs if one.variable})
    given = spec.environment_variables.items()
    variables.update({name: fill(value, places) for name, value in given if places.ca or value != _CA})
    variables.update(spec.secret_variables)
    # Ours come last: by them the processes of a run are found, whatever a user has set.
    variables.update({ALLOCATION: node.allocation, RUN_KEY: key})
    if places.checkpoint is not None:
        variables[CHECKPOINT_DIR] = places.checkpoint
    return variables


def _rank_variables(spec: Spec, wanted: Wanted, rank: int) -> dict[str, str]:
    own = {"ULTRAMARINE_RANK": str(rank), "ULTRAMARINE_NODE_RANK": str(spec.node_rank)}
    return {**own, **distribution.variables(spec, wanted, rank)}
