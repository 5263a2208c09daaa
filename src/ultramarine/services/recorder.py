"""The last turns of the scheduler that decided something, kept in memory for who asks why."""

from collections import deque
from datetime import datetime

from ultramarine.planning.actions import Plan
from ultramarine.planning.seen import Seen
from ultramarine.planning.state import State
from ultramarine.planning.trace import Turned, told

TURNS_MAX = 64
THINGS_MAX = 50_000  #: runs and nodes in all turns that are kept; those that have not changed are shared between turns


class Recorder:
    def __init__(self) -> None:
        self._turns: deque[tuple[datetime, State, Seen, Plan]] = deque(maxlen=TURNS_MAX)
        self._things = 0

    def keep(self, now: datetime, state: State, *, seen: Seen, made: Plan) -> None:
        """The oldest go first."""
        if len(self._turns) == TURNS_MAX:
            self._drop()
        self._turns.append((now, state, seen, made))
        self._things += _size(state)
        while self._things > THINGS_MAX and len(self._turns) > 1:
            self._drop()

    def trace(self) -> list[Turned]:
        """The oldest first."""
        return [
            Turned(now=now, state=state, seen=seen, decided=told(made)) for now, state, seen, made in list(self._turns)
        ]

    def _drop(self) -> None:
        _now, state, _seen, _made = self._turns.popleft()
        self._things -= _size(state)


def _size(state: State) -> int:
    return len(state.runs) + len(state.nodes)
