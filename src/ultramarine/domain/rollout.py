"""A rollout: traffic moves to a deployment step by step, and returns by itself when its figures are bad."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ultramarine.domain.machine import Machine
from ultramarine.domain.spec import Spec

Measure = Literal["error_rate", "p50", "p95", "p99", "disagreement"]
MEASURES: tuple[Measure, ...] = ("error_rate", "p50", "p95", "p99", "disagreement")
QUANTILES: Mapping[str, float] = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_CONDITION = re.compile(r"\s*([a-z0-9_]+)\s*>\s*([0-9]+(?:\.[0-9]+)?)\s*(%|x|ms|s)\s*")
_UNITS: Mapping[str, frozenset[str]] = {
    "error_rate": frozenset({"%"}),
    "disagreement": frozenset({"%"}),
    "p50": frozenset({"x", "ms", "s"}),
    "p95": frozenset({"x", "ms", "s"}),
    "p99": frozenset({"x", "ms", "s"}),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A bad figure: `measure` above `limit`, which is a share (0 to 1), seconds, or times that of the others."""

    measure: str
    limit: float
    is_relative: bool = False
    written: str = ""

    @staticmethod
    def parse(text: str) -> "Condition":
        """Read `error_rate>1%`, `p99>2x`, `p95>300ms`. Raises ValueError."""
        found = _CONDITION.fullmatch(text)
        if found is None or found[1] not in _UNITS:
            raise ValueError(
                f"{text.strip()!r} is no condition; write a measure ({', '.join(MEASURES)}), >, and a limit: "
                "error_rate>1%, p99>2x, p95>300ms"
            )
        measure, number, unit = found[1], float(found[2]), found[3]
        if unit not in _UNITS[measure]:
            units = " or ".join(sorted(_UNITS[measure]))
            raise ValueError(f"{text.strip()!r}: the limit of {measure} is given in {units}")
        scale = {"%": 0.01, "ms": 0.001}.get(unit, 1.0)
        return Condition(measure, number * scale, unit == "x", f"{measure}>{found[2]}{unit}")


class RolloutSpec(Spec):
    """What `um online-deployment rollout` was told."""

    canary: int | None = Field(default=None, ge=1, le=100, description="percent of the traffic in the first step")
    steps: list[int] = Field(default_factory=lambda: [10, 50, 100], description="percent of the traffic, step by step")
    hold: int = Field(default=60, ge=0, le=7 * 86_400, description="seconds that a step lasts at least")
    min_requests: int = Field(default=50, ge=0, description="to the deployment, before a step is judged as good")
    pause_on: list[str] = Field(
        default_factory=lambda: ["error_rate>1%", "p99>2x"], description="bad figures: the traffic returns at once"
    )

    @field_validator("pause_on")
    @classmethod
    def _can_be_read(cls, conditions: list[str]) -> list[str]:
        return [Condition.parse(each).written for each in conditions]

    @model_validator(mode="after")
    def _rising(self) -> "RolloutSpec":
        steps = self.shares
        if not steps or any(not 1 <= share <= 100 for share in steps):
            raise ValueError("steps are shares of the traffic, 1 to 100 percent")
        if any(after <= before for before, after in pairwise(steps)):
            raise ValueError(f"steps rise from one to the next; seen: {', '.join(map(str, steps))}")
        return self

    @property
    def shares(self) -> list[int]:
        """The percent of each step, the canary's first."""
        if self.canary is None or self.steps[:1] == [self.canary]:
            return self.steps
        return [self.canary, *self.steps]

    @property
    def conditions(self) -> list[Condition]:
        return [Condition.parse(each) for each in self.pause_on]


class RolloutStatus(StrEnum):
    RUNNING = "Running"
    COMPLETED = "Completed"
    RETURNED = "Returned"
    CANCELED = "Canceled"


class RolloutEvent(StrEnum):
    STEP_TAKEN = "step_taken"
    LAST_STEP_HELD = "last_step_held"
    FIGURES_WERE_BAD = "figures_were_bad"
    DEPLOYMENT_WAS_LOST = "deployment_was_lost"
    TAKEN_BACK = "taken_back"
    TRAFFIC_WAS_CHANGED = "traffic_was_changed"


S, E = RolloutStatus, RolloutEvent
ROLLOUT = Machine(
    noun="rollout",
    initial=S.RUNNING,
    table={
        (S.RUNNING, E.STEP_TAKEN): S.RUNNING,
        (S.RUNNING, E.LAST_STEP_HELD): S.COMPLETED,
        (S.RUNNING, E.FIGURES_WERE_BAD): S.RETURNED,
        (S.RUNNING, E.DEPLOYMENT_WAS_LOST): S.RETURNED,
        (S.RUNNING, E.TAKEN_BACK): S.CANCELED,
        (S.RUNNING, E.TRAFFIC_WAS_CHANGED): S.CANCELED,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """`step` counts from 0; -1 before the first was taken. `before`: the traffic as it was, to which it returns."""

    id: str
    workspace: str
    endpoint: str
    deployment: str
    spec: RolloutSpec
    before: Mapping[str, int]
    step: int = -1
    step_at: datetime
    status: RolloutStatus = ROLLOUT.initial
    reason: str = ""
    version: int = 1
    created_at: datetime
    changed_at: datetime

    def after(self, event: RolloutEvent, *, now: datetime, reason: str = "") -> "Rollout":
        status = ROLLOUT.next(self.status, event)
        is_step = event is RolloutEvent.STEP_TAKEN
        return replace(
            self,
            status=status,
            reason=reason,
            step=self.step + is_step,
            step_at=now if is_step else self.step_at,
            version=self.version + 1,
            changed_at=now,
        )

    @property
    def traffic(self) -> Mapping[str, int]:
        """As it is to be while this step lasts."""
        return self.before if self.step < 0 else shared(self.before, self.deployment, self.spec.shares[self.step])


def shared(before: Mapping[str, int], deployment: str, share: int) -> Mapping[str, int]:
    """The traffic with `share` percent for one deployment, and the rest among the others as they had it.

    Whole percents that add up to 100: what rounding leaves goes to those that lost most by it.
    """
    others = {name: old for name, old in before.items() if name != deployment and old > 0}
    had, rest = sum(others.values()), 100 - share
    if not others:
        return {deployment: 100}
    exact = {name: rest * old / had for name, old in others.items()}
    given = {name: int(part) for name, part in exact.items()}
    by_loss = sorted(others, key=lambda name: (given[name] - exact[name], name))
    for name in by_loss[: rest - sum(given.values())]:
        given[name] += 1
    return {**given, deployment: share}
