"""What a run on this node is, and what is to be done next about it. Pure: nothing here waits, reads or writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from .spec import Peer, Spec, Wanted


class Phase(str, Enum):
    """Where a run is. `starting` and `flushing` are ours: nobody outside sees them."""

    PREPARING = "preparing"
    READY = "ready"
    STARTING = "starting"
    RUNNING = "running"
    FINALIZING = "finalizing"
    FLUSHING = "flushing"
    ENDED = "ended"


class Event(str, Enum):
    """What can happen to a run."""

    PREPARED = "prepared"
    GIVEN_UP = "given up"  #: before its ranks were started: a failure, or it was asked to stop
    LAUNCHED = "launched"
    STARTED = "started"
    RANKS_ENDED = "ranks ended"
    OUTPUTS_SENT = "outputs sent"
    LOGS_SENT = "logs sent"


class Step(str, Enum):
    """What the link does about a run."""

    GIVE_UP = "give up"
    START = "start"
    END = "end"
    FORGET = "forget"


P, E = Phase, Event
MOVES: Mapping[tuple[Phase, Event], Phase] = {
    (P.PREPARING, E.PREPARED): P.READY,
    (P.PREPARING, E.GIVEN_UP): P.FLUSHING,
    (P.READY, E.GIVEN_UP): P.FLUSHING,
    (P.READY, E.LAUNCHED): P.STARTING,
    (P.STARTING, E.STARTED): P.RUNNING,
    (P.STARTING, E.RANKS_ENDED): P.FINALIZING,
    (P.RUNNING, E.RANKS_ENDED): P.FINALIZING,
    (P.FINALIZING, E.OUTPUTS_SENT): P.FLUSHING,
    (P.FLUSHING, E.LOGS_SENT): P.ENDED,
}

STEPS: Mapping[tuple[Phase, str], Step] = {
    (P.PREPARING, "stop"): Step.GIVE_UP,
    (P.PREPARING, "absent"): Step.GIVE_UP,
    (P.READY, "stop"): Step.GIVE_UP,
    (P.READY, "absent"): Step.GIVE_UP,
    (P.READY, "go"): Step.START,
    (P.STARTING, "stop"): Step.END,
    (P.STARTING, "absent"): Step.END,
    (P.RUNNING, "stop"): Step.END,
    (P.RUNNING, "absent"): Step.END,
    (P.ENDED, "absent"): Step.FORGET,
}

SHOWN: Mapping[Phase, str] = {P.STARTING: "ready", P.FLUSHING: "finalizing"}
_FORWARD = {"prepare": 0, "go": 1, "stop": 2, "absent": 3}


@dataclass(frozen=True)
class Run:
    """A run as this node knows it."""

    key: str
    spec: Spec | None  #: None when it could not be read
    wanted: Wanted
    phase: Phase = Phase.PREPARING
    progress: str = ""
    address: str | None = None
    ports: tuple[int, ...] = ()  #: held for its processes
    sockets: Mapping[str, str] = field(default_factory=dict[str, str])
    pids: tuple[int, ...] = ()
    started_at: float | None = None  #: wall clock, for people
    started_boot_s: float | None = None  #: boot clock, for limits: it does not jump
    samples: Mapping[str, float] = field(default_factory=dict[str, float])
    ranks: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])  #: use of each
    checkpoint: Mapping[str, Any] = field(default_factory=dict[str, Any])  #: what is kept of its checkpoint folder
    ending: Mapping[str, Any] | None = None  #: set once the ranks have ended, shown once the logs are shipped
    ending_asked: bool = False
    is_preparing: bool = False  #: a worker is at it, even if nobody waits for what it makes
    ended_boot_s: float | None = None
    logs_settled: bool = False  #: every byte shipped, or refused

    @property
    def has_ranks(self) -> bool:
        """Whether processes of it may be alive."""
        return self.phase in (Phase.STARTING, Phase.RUNNING)

    @property
    def meeting(self) -> Wanted:
        """What is wanted, with where the processes meet: of a run that is alone, its own place."""
        own = Peer(self.address or "127.0.0.1", self.ports or (0,))
        if self.spec is not None and self.spec.nodes > 1:
            return self.wanted
        return replace(self.wanted, master=(own.address, own.ports[0]), peers=(own,))

    @property
    def is_task(self) -> bool:
        """Whether it ends by itself, and with the lease."""
        return self.spec is None or not self.spec.is_service


def after(run: Run, event: Event, **changes: Any) -> Run | None:
    """The run after an event; None when the event comes too late or twice, and changes nothing."""
    phase = MOVES.get((run.phase, event))
    return None if phase is None else replace(run, phase=phase, **changes)


def wanting(run: Run, wanted: Wanted) -> Run:
    """Take what is wanted now, unless it would move backwards."""
    if _FORWARD.get(wanted.phase, -1) < _FORWARD[run.wanted.phase]:
        return run
    return replace(run, wanted=wanted)


def step(run: Run, *, lease_over: bool = False) -> Step | None:
    """What is to be done about a run now, or nothing."""
    found = STEPS.get((run.phase, run.wanted.phase))
    if found is Step.START and lease_over and run.is_task:
        return None
    if found is Step.END and run.ending_asked:
        return None
    if found is Step.FORGET and (run.is_preparing or not run.logs_settled):
        return None
    return found


def is_awaited(run: Run) -> bool:
    """Whether somebody waits to hear of its phase: its end makes room, a gang waits for all, a service is called."""
    at_barrier = run.phase is Phase.READY and run.wanted.phase == "prepare"
    return at_barrier or run.phase is Phase.ENDED or (run.phase is Phase.RUNNING and not run.is_task)


def report(run: Run) -> dict[str, Any]:
    """The run's entry in `reported`."""
    return {
        "phase": SHOWN.get(run.phase, run.phase.value),
        "progress": run.progress,
        "address": run.address,
        "port": run.ports[0] if run.ports else None,
        "ports": list(run.ports),
        "sockets": dict(run.sockets),
        "started_at": run.started_at,
        "samples": dict(run.samples),
        "world_size": run.spec.world_size if run.spec else 1,
        "gpus": None if run.spec is None or run.spec.gpus is None else list(run.spec.gpus),
        "ranks": {rank: dict(use) for rank, use in run.ranks.items()},
        "checkpoint": dict(run.checkpoint),
        "ended": dict(run.ending) if run.phase is Phase.ENDED and run.ending else None,
    }


def ending(cause: str, words: str, *, at: float, **more: Any) -> dict[str, Any]:
    """An `ended` as the protocol has it."""
    return {
        "cause": cause,
        "code": None,
        "signal": None,
        "rank": None,
        "words": words,
        "at": at,
        "ranks": {},
        "outputs": {},
        "tail": "",
        **more,
    }
