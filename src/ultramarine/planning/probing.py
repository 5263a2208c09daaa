"""Whether a replica is alive and ready, as its probes have it: a change of mind takes so many answers in a row."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from ultramarine.domain.endpoint import DeploymentSpec, ProbeSettings
from ultramarine.domain.run import Run


class Kind(StrEnum):
    LIVENESS = "liveness"
    READINESS = "readiness"

    def settings(self, spec: DeploymentSpec) -> ProbeSettings:
        return spec.liveness_probe if self is Kind.LIVENESS else spec.readiness_probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """`against`: how many answers in a row say the contrary of `is_well`. `why`: what the last bad one was."""

    due_at: datetime
    is_well: bool = True
    against: int = 0
    why: str = ""

    @classmethod
    def of(cls, run: Run, settings: ProbeSettings) -> "Probing":
        """Of a replica that has begun: nothing is held against it before its initial delay is over."""
        return cls(due_at=(run.started_at or run.changed_at) + timedelta(seconds=settings.initial_delay))

    def after(self, why: str, settings: ProbeSettings, now: datetime) -> "Probing":
        """After an answer. `why`: what is wrong with it, or nothing."""
        due_at = now + timedelta(seconds=settings.period)
        if (not why) == self.is_well:
            return replace(self, due_at=due_at, against=0, why=why or self.why)
        needed = settings.failure_threshold if self.is_well else settings.success_threshold
        if self.against + 1 < needed:
            return replace(self, due_at=due_at, against=self.against + 1, why=why or self.why)
        return Probing(due_at=due_at, is_well=not self.is_well, why=why)

    def words(self, kind: Kind, settings: ProbeSettings) -> str:
        """Why it does not count as well; nothing while it does."""
        times = f"{settings.failure_threshold} times in a row" if settings.failure_threshold > 1 else "once"
        return "" if self.is_well else f"Its {kind} probe failed {times}: {self.why}."
