"""`mpiexec` over the nodes of a run, on the first of them: MPICH's, or another one with the Hydra launcher."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .distribution import EACH, FAILED, PEERS, entry
from .remote import Peer, failure

EXIT_CANNOT = 126
_LOOK_S = 0.2
_POLL_S = 0.05
_AFTER_FAILURE_S = 2.0  #: what the other ranks, and mpiexec, get to end by themselves
_NONE = "ultramarine: mpiexec is not in this job's environment. Add mpich (and mpi4py) to its requirements."
_OTHER = "ultramarine: {0} is not MPICH's (Hydra), which alone is supported. Add mpich to the job's requirements."


def main() -> int:
    """Run mpiexec to its end, and let the other nodes go; its exit code. With arguments: start one node's proxy."""
    if len(sys.argv) > 1:
        return _start_proxy(sys.argv[1:])
    program = shutil.which("mpiexec")
    if program is None:
        return _cannot(_NONE)
    version = subprocess.run([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if b"HYDRA" not in version.stdout:
        return _cannot(_OTHER.format(program))
    places = [place for place in os.environ[PEERS].split(",") if place]
    others = [Peer(node, environ=os.environ) for node in range(1, len(places))]
    for other in others:
        other.hold()
    code = _led(_command(program, places))
    for other in others:
        other.over()
    return code


def _led(command: list[str]) -> int:
    """Run mpiexec to its end; its exit code, or that of the first rank that failed.

    Not every Hydra ends by itself when a rank has failed while others wait for it: it is ended then.
    """
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as leader:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = leader.wait(_LOOK_S)
                return _told(code) if code else 0
            if failure(os.environ):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    leader.wait(_AFTER_FAILURE_S)
                leader.kill()


def _told(code: int) -> int:
    """The code of the rank that failed first, which may come after mpiexec has given up; else mpiexec's own."""
    deadline = time.monotonic() + _AFTER_FAILURE_S
    while not (first := failure(os.environ)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return first or (code if code >= 0 else 128 - code)


def _command(program: str, places: list[str]) -> list[str]:
    """Nodes are called by number: an address may be that of several, and is not to be taken for this machine's."""
    each = os.environ["ULTRAMARINE_PROCESSES_PER_NODE"]
    hosts = ["localhost", *(f"node{node}" for node in range(1, len(places)))]
    address = places[0].rpartition(":")[0].strip("[]")
    return [
        program,
        *("-launcher", "ssh", "-launcher-exec", str(_launcher()), "-localhost", address),
        *("-hosts", ",".join(f"{host}:{each}" for host in hosts), "-np", str(int(each) * len(hosts))),
        # Folders and variables are those of each node, which its own runner has set.
        *("-genvnone", "-wdir", "/", "/bin/sh", "-c", f'eval "${EACH}"'),
    ]


def _launcher() -> Path:
    """A program that mpiexec calls as it would call ssh, beside the run's code."""
    file = Path.cwd().parent / "start-on-node"
    file.write_text(f'#!/bin/sh\nexec {shlex.join(entry("mpi"))} "$@"\n')
    file.chmod(0o700)
    return file


def _start_proxy(arguments: list[str]) -> int:
    """`[-x] nodeN WORDS…`, as for ssh: the words are for a shell there, where the environment may lie elsewhere."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    while arguments and arguments[0].startswith("-"):
        arguments = arguments[1:]
    command, own = " ".join(arguments[1:]), os.environ.get("VIRTUAL_ENV")
    if own:
        command = command.replace(f"{own}/", "$VIRTUAL_ENV/")
    code = Peer(int(arguments[0][len("node") :]), environ=os.environ).start(command)
    if code:
        with contextlib.suppress(FileExistsError), Path(os.environ[FAILED]).open("x") as file:
            file.write(str(code))
    return code


def _cannot(words: str) -> int:
    print(words, file=sys.stderr, flush=True)
    return EXIT_CANNOT
