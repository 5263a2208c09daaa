"""When a part is started, started again, or ended because it hangs: pure, time is an argument.

Times are monotonic seconds.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
HEALTHY_RESET_S = 30.0  #: ready this long, a part is trusted again: the next end is followed by a start at once
HUNG_S = 30.0  #: a part that was ready and has not answered this long is ended, so that it is started again


class Phase(StrEnum):
    """Where a part stands."""

    WAITING = "waiting"  # for its next start
    STARTING = "starting"
    READY = "ready"
    NOT_ANSWERING = "not answering"
    STOPPED = "stopped"


class Act(StrEnum):
    """What shall be done to a part now."""

    START = "start"
    KILL = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is known of one part's course."""

    phase: Phase = Phase.WAITING
    next_start_at: float = 0.0
    backoff_s: float = BACKOFF_MIN_S
    answered_at: float = 0.0  #: when it last answered
    ready_since: float = 0.0
    restarts: int = 0  #: starts after the first
    failed_starts: int = 0  #: ends in a row without having been ready in between

    def started(self, now: float) -> "Course":
        return replace(self, phase=Phase.STARTING, answered_at=now)

    def answered(self, now: float) -> "Course":
        """It answered a health question."""
        was_ready = self.phase is Phase.READY
        ready_since = self.ready_since if was_ready else now
        steady = was_ready and now - ready_since >= HEALTHY_RESET_S
        return replace(
            self,
            phase=Phase.READY,
            answered_at=now,
            ready_since=ready_since,
            failed_starts=0,
            backoff_s=BACKOFF_MIN_S if steady else self.backoff_s,
        )

    def silent(self) -> "Course":
        """It lives and did not answer. One that was never ready is still starting, however long that takes."""
        return replace(self, phase=Phase.NOT_ANSWERING) if self.phase is Phase.READY else self

    def ended(self, now: float) -> "Course":
        """Its process ended without being asked: it is started again after the back-off, which doubles."""
        was_ready = self.phase in (Phase.READY, Phase.NOT_ANSWERING)
        return replace(
            self,
            phase=Phase.WAITING,
            next_start_at=now + self.backoff_s,
            backoff_s=min(self.backoff_s * 2, BACKOFF_MAX_S),
            restarts=self.restarts + 1,
            failed_starts=0 if was_ready else self.failed_starts + 1,
        )

    def stopped(self) -> "Course":
        return replace(self, phase=Phase.STOPPED)

    def act(self, now: float) -> Act | None:
        """What this part needs now, if anything."""
        if self.phase is Phase.WAITING and now >= self.next_start_at:
            return Act.START
        if self.phase is Phase.NOT_ANSWERING and now - self.answered_at >= HUNG_S:
            return Act.KILL
        return None
