"""A Ray of a job's own over the nodes of its run, led from the first of them; the job's command runs beside its head.

Ray is that of the job's environment. Its nodes are started through `remote`, one after the other: two at once on one
machine take the same socket. With the run everything of it is killed, as any rank is.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from .distribution import CPUS, EACH, PEERS, SCRATCH, SECRET
from .remote import Peer

EXIT_CANNOT, EXIT_LOST = 126, 125
_LOOK_S = 0.2
_NONE = "ultramarine: ray is not in this job's environment. Add ray to its requirements."
_OURS = (EACH, PEERS, SECRET, SCRATCH, CPUS)
#: `ray start` on any node: its folder and its place on the network are those of that node.
_START = (
    'ray start --block --temp-dir "$ULTRAMARINE_SCRATCH" --num-cpus "$ULTRAMARINE_CPUS" --disable-usage-stats'
    ' --include-log-monitor=false {0} >>"$ULTRAMARINE_SCRATCH/ray.log" 2>&1 &&'
    ' exit 0; code=$?; tail -n 20 "$ULTRAMARINE_SCRATCH/ray.log" >&2; exit $code'
)
#: Says how many nodes of Ray are there, until there are as many as it is told.
_COUNT = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    time.sleep(0.1)
"""


def main() -> int:
    """Start Ray on each node, run the job's command to its end, let the nodes go; the command's exit code."""
    if shutil.which("ray") is None:
        print(_NONE, file=sys.stderr, flush=True)
        return EXIT_CANNOT
    places = [place for place in os.environ[PEERS].split(",") if place]
    others = [Peer(node, environ=os.environ) for node in range(1, len(places))]
    for other in others:
        other.hold()
    code = _Lead(places).run()
    for other in others:
        with contextlib.suppress(OSError):
            other.over()
    return code


class _Lead:
    """Ray's nodes as they are started, and what ends before the command does."""

    def __init__(self, places: Sequence[str]) -> None:
        """`places`: of each node, `address:port`; the first is where Ray's head listens."""
        self._places = places
        self._lost: list[str] = []

    def run(self) -> int:
        """Ray over all nodes, then the command."""
        head = self._places[0]
        address, _, port = head.rpartition(":")
        flags = ["--head", "--node-ip-address", address, "--port", port, "--include-dashboard=false"]
        self._keep(0, flags)
        for node in range(len(self._places)):
            if node:
                own = self._places[node].rpartition(":")[0]
                self._keep(node, ["--address", head, "--node-ip-address", own])
            if code := self._wait([_python(), "-c", _COUNT, head, str(node + 1)]):
                return code
        return self._wait(["/bin/sh", "-c", os.environ[EACH]])

    def _keep(self, node: int, flags: Sequence[str]) -> None:
        """Start Ray on a node; should it end there, the job does."""
        command = _START.format(shlex.join(flags))

        def live() -> None:
            try:
                code = Peer(node, environ=os.environ).start(command) if node else _here(command)
            except OSError as error:
                self._lost.append(f"node {node} is not reached: {error}")
            else:
                self._lost.append(f"Ray on node {node} ended with code {code}")

        threading.Thread(target=live, daemon=True).start()

    def _wait(self, command: Sequence[str]) -> int:
        """Run a command to its end, or until Ray has ended somewhere; its exit code."""
        variables = {name: value for name, value in os.environ.items() if name not in _OURS}
        variables |= {"RAY_ADDRESS": self._places[0]}
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, env=variables) as running:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = running.wait(_LOOK_S)
                    return code if code >= 0 else 128 - code
                if self._lost:
                    running.kill()
                    print(f"ultramarine: {self._lost[0]}.", file=sys.stderr, flush=True)
                    return EXIT_LOST


def _python() -> str:
    """The job's own: Ray's program lies beside it."""
    ray = shutil.which("ray")
    assert ray is not None, "it was there a moment ago"
    return str(Path(ray).parent / "python")


def _here(command: str) -> int:
    return subprocess.call(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL)
