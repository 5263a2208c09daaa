"""How the processes of a run find each other: by kind of distribution, what each is given. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable

from .spec import BadSpec, Peer, Spec, Wanted

PEERS, SECRET, EACH = "ULTRAMARINE_PEERS", "ULTRAMARINE_START_SECRET", "ULTRAMARINE_EACH"
SCRATCH = "ULTRAMARINE_SCRATCH"  #: a folder with a short path, for the sockets of a job's own Ray
CPUS = "ULTRAMARINE_CPUS"  #: how many that Ray has to give on this node
FAILED = "ULTRAMARINE_FAILED"  #: the path of a file with the exit code of the first rank here that failed
LED = frozenset({"mpi", "ray"})  #: one program on the first node leads those of all others
_MAIN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from ultramarine_runner.{0} import main; sys.exit(main())"


def ports(spec: Spec) -> int:
    """How many ports this node holds for its processes."""
    return len(spec.ranks) if spec.distribution == "tensorflow" else 1


def variables(spec: Spec, wanted: Wanted, rank: int) -> dict[str, str]:
    """What tells this process who it is and where the others are. BadSpec when their places are not all known."""
    made = _VARIABLES.get(spec.distribution or "")
    return {} if made is None else made(spec, wanted, rank)


def program(spec: Spec) -> tuple[str, ...] | None:
    """What the runner starts once on this node, which then starts the ranks; None: it starts each rank itself."""
    if spec.distribution not in LED:
        return None
    return entry(spec.distribution if spec.node_rank == 0 else "remote")


def entry(module: str) -> tuple[str, ...]:
    """A module of this package as a program, by the runner's Python; nothing of the job's environment reaches it."""
    place = str(Path(__file__).parents[1])  # the packed runner, or the folder that its package is in
    return (sys.executable, "-I", "-c", _MAIN.format(module), place)


def led_variables(
    spec: Spec, wanted: Wanted, *, argv: Sequence[str], folder: str, log: Callable[[str], str]
) -> dict[str, str]:
    """What that program is given: the other nodes, a secret of the run, and how a rank is started on this node.

    The last is evaluated by a shell: folders differ from node to node, so it cannot come from the first one.
    """
    return {
        PEERS: ",".join(place(peer) for peer in _all(spec, wanted)),
        SECRET: _secret(spec, "start on the nodes of this run"),
        FAILED: str(Path(folder).parent / "failed"),
        "ULTRAMARINE_NODE_RANK": str(spec.node_rank),
        **(_of_ray(spec, argv) if spec.distribution == "ray" else _of_mpi(spec, argv, folder=folder, log=log)),
    }


def _secret(spec: Spec, purpose: str) -> str:
    """Every node of the run comes to the same, and nobody else does."""
    return hmac.new(spec.token.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def _of_ray(spec: Spec, argv: Sequence[str]) -> dict[str, str]:
    """Ray gets a token of its own, so that nobody else's work comes in."""
    return {
        EACH: shlex.join(argv),
        "ULTRAMARINE_RANK": str(spec.ranks[0]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _secret(spec, "join the Ray of this run"),
    }


def _of_mpi(spec: Spec, argv: Sequence[str], *, folder: str, log: Callable[[str], str]) -> dict[str, str]:
    each = (
        f"ULTRAMARINE_RANK=$PMI_RANK; export ULTRAMARINE_RANK; unset {PEERS} {SECRET}; cd {shlex.quote(folder)}"
        f" && {' '.join(map(shlex.quote, argv))} >>{log('$PMI_RANK')} 2>&1;"
        f' code=$?; [ $code = 0 ] || (set -C; echo $code >"${FAILED}") 2>/dev/null; exit $code'
    )
    return {EACH: each, "ULTRAMARINE_PROCESSES_PER_NODE": str(spec.processes_per_node)}


def _pytorch(spec: Spec, wanted: Wanted, rank: int) -> dict[str, str]:
    address, port = wanted.master or ("127.0.0.1", 0)
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(spec.nodes * spec.processes_per_node),
        "LOCAL_RANK": str(rank - spec.ranks[0]),
        "LOCAL_WORLD_SIZE": str(spec.processes_per_node),
        "NODE_RANK": str(spec.node_rank),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


def _tensorflow(spec: Spec, wanted: Wanted, rank: int) -> dict[str, str]:
    peers, workers = _all(spec, wanted), spec.tasks.get("worker", 0)
    # Task by task over the nodes, workers first: each node has its worker before any has a second.
    places = [place(peers[task % spec.nodes], task // spec.nodes) for task in range(sum(spec.tasks.values()))]
    cluster = {"worker": places[:workers], "ps": places[workers:]}
    task = {"type": "worker", "index": rank} if rank < workers else {"type": "ps", "index": rank - workers}
    return {"TF_CONFIG": json.dumps({"cluster": {k: v for k, v in cluster.items() if v}, "task": task})}


_VARIABLES: Mapping[str, Callable[[Spec, Wanted, int], dict[str, str]]] = {
    "pytorch": _pytorch,
    "tensorflow": _tensorflow,
}


def _all(spec: Spec, wanted: Wanted) -> Sequence[Peer]:
    if len(wanted.peers) != spec.nodes:
        raise BadSpec(f"peers: {len(wanted.peers)} places are given for {spec.nodes} nodes.")
    return wanted.peers


def place(peer: Peer, at: int = 0) -> str:
    """`ADDRESS:PORT` of one of its ports. Raises BadSpec where it has not so many."""
    if at >= len(peer.ports):
        raise BadSpec(f"peers: {peer.address} has {len(peer.ports)} ports, and process {at + 1} there needs one.")
    address = f"[{peer.address}]" if ":" in peer.address else peer.address
    return f"{address}:{peer.ports[at]}"
