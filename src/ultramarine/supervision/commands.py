"""What the command line asks of the supervisor: start, stop, parts. Standard library only."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ultramarine.supervision import home as homes
from ultramarine.supervision import lock, process
from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.home import last_database, last_listening, prepare
from ultramarine.supervision.listening import Listening
from ultramarine.supervision.lock import Holder
from ultramarine.supervision.loop import is_ready, supervise
from ultramarine.supervision.parts import Part, current, end_leftovers
from ultramarine.supervision.programs import Table, installation

__all__ = [
    "CannotStart",
    "Holder",
    "Listening",
    "Part",
    "elsewhere",
    "last_database",
    "last_listening",
    "parts",
    "running",
    "start",
    "stop",
]

READY_WITHIN_S = 60.0
FAILED_STARTS_MAX = 3
GRACE_S = 10.0
_PROGRAM = (sys.executable, "-P", "-m", "ultramarine.supervisor")


def start(
    home: Path,
    listening: Listening,
    *,
    detach: bool,
    grace_s: float = GRACE_S,
    table: Table = installation,
) -> int:
    """Run the installation here until it is told to end, or (`detach`) in a session of its own.

    `grace_s`: seconds that its parts have to end. Returns the exit code: 0 ended as asked or, detached, ready;
    1 a part fails; 2 nothing was started. What went wrong is on stderr.
    """
    home = home.expanduser().absolute()
    try:
        if detach:
            options = {
                "--home": home,
                "--port": listening.port,
                "--second-port": listening.second_port,
                "--instances-port": listening.instances_port,
                "--listen": listening,
                "--grace-s": grace_s,
            }
            words = [word for option, value in options.items() for word in (option, str(value))]
            return start_detached(home, (*_PROGRAM, *words))
        supervise(home, listening, grace_s=grace_s, table=table)
    except CannotStart as error:
        print(f"{error}\n{error.hint}", file=sys.stderr)
        return 2
    return 0


def start_detached(home: Path, argv: Sequence[str], *, ready_within_s: float = READY_WITHIN_S) -> int:
    """Start the supervisor `argv` in a session of its own, and wait until its essential parts answer.

    One that holds the home already, or is faster, is waited for instead.
    """
    prepare(home)
    if lock.holder(home) is not None:
        return _wait_for_other(home, ready_within_s)
    log = home / "logs" / "supervisor.log"
    with open(log, "ab") as stream:
        begin = stream.tell()
        started = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=home, start_new_session=True
        )
    deadline = time.monotonic() + ready_within_s
    while time.monotonic() < deadline:
        if (code := started.poll()) is not None:
            if lock.holder(home) is not None:
                return _wait_for_other(home, deadline - time.monotonic())
            print(_from(log, begin), file=sys.stderr)
            return code or 1
        found = lock.holder(home)
        state = current(home) if found is not None and found.pid == started.pid else []
        if is_ready(state):
            return 0
        if failing := [part for part in state if part.is_essential and part.failed_starts >= FAILED_STARTS_MAX]:
            return _give_up(started, failing)
        time.sleep(0.02)
    late = [part for part in current(home) if part.is_essential and part.phase != "ready"]
    print(f"Not ready within {ready_within_s:.0f} s.", file=sys.stderr)
    return _give_up(started, late)


def stop(home: Path, grace_s: float = GRACE_S + 5) -> int:
    """End the installation of this home and wait for it; its supervisor is killed after `grace_s` seconds.

    Its own grace for the parts comes from its start, so give more than that. Returns 0, also when none runs;
    1 when it could not be ended (it belongs to somebody else).
    """
    home = home.expanduser().absolute()
    if (found := lock.holder(home)) is not None:
        process.end_stranger(found.pid, found.start_ticks, grace_s=grace_s)
    end_leftovers(home, grace_s=1.0)
    return 0 if lock.holder(home) is None else 1


def elsewhere(home: Path) -> str:
    """What to type on another machine, of an installation that listens for others; empty where it never did."""
    file = homes.elsewhere(home.expanduser().absolute())
    return file.read_text(encoding="utf-8") if file.exists() else ""


def parts(home: Path) -> list[Part]:
    """Each part of the installation, as it is now; none when it was never started."""
    return current(home.expanduser().absolute())


def running(home: Path) -> Holder | None:
    """The supervisor of this home, with the ports that it listens on; None when nothing runs there."""
    return lock.holder(home.expanduser().absolute())


def _wait_for_other(home: Path, within_s: float) -> int:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and lock.holder(home) is not None:
        if is_ready(current(home)):
            return 0
        time.sleep(0.02)
    print(f"Ultramarine was started in {home} already, and is not ready. um status shows why.", file=sys.stderr)
    return 1


def _give_up(started: subprocess.Popen[bytes], failing: Sequence[Part]) -> int:
    """Say what failed, with the end of its log, and leave nothing running."""
    for part in failing:
        print(f"{part.name} does not start ({part.why or 'no answer'}). The end of {part.log}:", file=sys.stderr)
        print(process.last_lines(Path(part.log)), file=sys.stderr)
    started.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.wait(GRACE_S + 2)
    started.kill()
    started.wait()
    return 1


def _from(log: Path, begin: int) -> str:
    with open(log, "rb") as stream:
        stream.seek(begin)
        return stream.read().decode(errors="replace").rstrip()
