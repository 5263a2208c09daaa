"""When a rollout goes a step further, when it is done, and when its traffic returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ultramarine.domain.rollout import QUANTILES, Condition, Rollout, RolloutEvent
from ultramarine.planning.traffic import Traffic

E = RolloutEvent
BARE_MINIMUM = 20  #: requests on both sides before durations are compared at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What there is to judge by. Traffic are those since the step began.

    `traffic`: as the endpoint has it now. `why_not`: why the deployment cannot take traffic; empty when it can.
    """

    traffic: Mapping[str, int]
    candidate: Traffic
    others: Traffic
    why_not: str = ""
    is_lost: bool = False  #: it failed or is being deleted: nothing to wait for


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Record the event, and give the endpoint the traffic of the rollout after it (of before, when it returned)."""

    event: RolloutEvent
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    reason: str


def plan(rollout: Rollout, seen: Seen, now: datetime) -> Move | Wait:
    """What is to be done now: one thing."""
    name, shares = rollout.deployment, rollout.spec.shares
    if _given(seen.traffic) != _given(rollout.traffic):
        return Move(event=E.TRAFFIC_WAS_CHANGED, reason="The traffic was changed by somebody else.")
    if seen.is_lost:
        return Move(event=E.DEPLOYMENT_WAS_LOST, reason=f"{name}: {seen.why_not}")
    if rollout.step >= 0 and (bad := _bad(rollout, seen)):
        return Move(event=E.FIGURES_WERE_BAD, reason=f"At {shares[rollout.step]} % of the traffic: {bad}")
    if seen.why_not:
        return Wait(reason=f"It waits for {name}: {seen.why_not}")
    if rollout.step < 0:
        return Move(event=E.STEP_TAKEN, reason=f"{name} has {shares[0]} % of the traffic.")
    if waits := _waits(rollout, seen, now):
        return Wait(reason=waits)
    if rollout.step + 1 == len(shares):
        return Move(event=E.LAST_STEP_HELD, reason=f"{name} has {shares[-1]} % of the traffic; {_said(seen.candidate)}")
    return Move(event=E.STEP_TAKEN, reason=f"{name} has {shares[rollout.step + 1]} % of the traffic.")


def _given(traffic: Mapping[str, int]) -> dict[str, int]:
    return {name: share for name, share in traffic.items() if share}


def _waits(rollout: Rollout, seen: Seen, now: datetime) -> str:
    over = rollout.step_at + timedelta(seconds=rollout.spec.hold)
    share = rollout.spec.shares[rollout.step]
    if now < over:
        return f"At {share} % for {(over - now).total_seconds():.0f} s more; {_said(seen.candidate)}"
    if seen.candidate.requests < rollout.spec.min_requests:
        return f"At {share} %: it has had {seen.candidate.requests} of {rollout.spec.min_requests} requests."
    return ""


def _said(figures: Traffic) -> str:
    p99 = figures.seconds.quantile(0.99)
    words = f"{figures.requests} requests, {figures.errors} errors"
    return f"{words}." if p99 is None else f"{words}, p99 {p99 * 1000:.0f} ms."


def _bad(rollout: Rollout, seen: Seen) -> str:
    """What is wrong with the figures, in words; empty when nothing is."""
    least = max(BARE_MINIMUM, rollout.spec.min_requests)
    for condition in rollout.spec.conditions:
        if words := _breach(condition, seen, least):
            return f"{words}; {condition.written} was not to be."
    return ""


def _breach(condition: Condition, seen: Seen, least: int) -> str:
    if condition.measure == "error_rate":
        return _too_many("errors", seen.candidate.errors, seen.candidate.requests, limit=condition.limit, least=least)
    if condition.measure == "disagreement":
        mirrored = seen.candidate.mirrored
        others = mirrored.compared - mirrored.agreed
        return _too_many("other answers", others, mirrored.compared, limit=condition.limit, least=least)
    return _too_slow(condition, seen, least)


def _too_many(what: str, bad: int, of: int, *, limit: float, least: int) -> str:
    """Too many of so few are no proof yet; but what is too many already of `least` need not be waited for."""
    if bad <= limit * max(of, least):
        return ""
    return f"{bad} {what} of {of} requests, {100 * bad / of:.1f} %"


def _too_slow(condition: Condition, seen: Seen, least: int) -> str:
    mine, theirs = seen.candidate.seconds, seen.others.seconds
    share = QUANTILES[condition.measure]
    took, usual = mine.quantile(share), theirs.quantile(share)
    if took is None or mine.count < least:
        return ""
    limit = condition.limit
    if condition.is_relative:
        if usual is None or theirs.count < BARE_MINIMUM:
            return ""
        limit *= usual
    if took <= limit:
        return ""
    beside = f", {usual * 1000:.1f} ms of the others" if condition.is_relative and usual is not None else ""
    return f"{condition.measure} is {took * 1000:.1f} ms{beside}"
