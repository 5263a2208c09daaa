"""The supervisor's life: hold the home, keep its parts running, end them in order."""

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ultramarine.supervision import home as homes
from ultramarine.supervision import lock, parts, preparing, process
from ultramarine.supervision.child import Child
from ultramarine.supervision.home import check_whole, prepare, write_gateway_config
from ultramarine.supervision.listening import HOST, Listening
from ultramarine.supervision.policy import Phase
from ultramarine.supervision.programs import Program, Table, installation

TURN_S = 0.1
STARTING_TURN_S = 0.03  #: until all that is waited for answers
ROTATE_S = 60.0
LEFTOVER_GRACE_S = 5.0
_STOPS = frozenset({signal.SIGTERM, signal.SIGINT})
_AWAITED = _STOPS | {signal.SIGCHLD}


def supervise(home: Path, listening: Listening, *, grace_s: float, table: Table = installation) -> None:
    """Run the installation until SIGTERM or SIGINT. Raises `CannotStart` before anything is started."""
    prepare(home)
    # Blocked, so that they are answered between two turns and never in the middle of one.
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with lock.held(home, listening) as holder:
        check_whole(home)
        parts.end_leftovers(home, grace_s=LEFTOVER_GRACE_S)
        listening.check()
        preparing.prepare(home, listening)
        write_gateway_config(home, listening)
        _run(home, table(home, listening), holder, grace_s=grace_s)


def _run(home: Path, programs: Sequence[Program], holder: lock.Holder, *, grace_s: float) -> None:
    children = [Child(program, home, say) for program in programs]
    try:
        _keep(home, children, holder)
    finally:
        _end(children, grace_s)
        parts.write(home, [child.part for child in children], holder)
        say("ended.")


def _keep(home: Path, children: Sequence[Child], holder: lock.Holder) -> None:
    written: list[parts.Part] = []
    rotate_at, is_announced = 0.0, False
    while True:
        now = time.monotonic()
        for child in children:
            if is_announced or child.program.is_essential:  # what nobody waits for takes no CPU from what is waited for
                child.turn(now)
        state = [child.part for child in children]
        if state != written:
            parts.write(home, state, holder)
            written = state
        if not is_announced and is_ready(state):
            others = f", by TLS at {holder.listen}" if holder.listen else ""
            say(f"ready at http://{HOST}:{holder.port}{others}, home {home}. Ctrl-C ends it.")
            if holder.listen:
                say(homes.elsewhere(home).read_text(encoding="utf-8"))
            is_announced = True
        if now >= rotate_at:
            for log in (home / "logs").glob("*.log"):
                process.rotate(log)
            rotate_at = now + ROTATE_S
        heard = signal.sigtimedwait(_AWAITED, TURN_S if is_announced else STARTING_TURN_S)
        if heard is not None and heard.si_signo in _STOPS:
            say(f"{signal.Signals(heard.si_signo).name} received: ending.")
            return


def is_ready(state: Sequence[parts.Part]) -> bool:
    """Whether all that `um up -d` waits for answers."""
    return bool(state) and all(part.phase is Phase.READY for part in state if part.is_essential)


def _end(children: Sequence[Child], grace_s: float) -> None:
    """One after the other; each may take its share of what is left of the grace."""
    deadline = time.monotonic() + grace_s
    for index, child in enumerate(children):
        left = max(0.0, deadline - time.monotonic())
        child.end(left / (len(children) - index))


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} ultramarine: {text}", file=sys.stderr, flush=True)
