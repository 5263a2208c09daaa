"""What a compute instance needs now: a run of it, the end of one, or a word on how it stands.

Its run is placed like any other, on a machine of its own. One that crashes is started again; one that cannot come up
says why and rests until it is asked. When it is to stop by itself is `planning/idleness.py`'s to say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ultramarine.domain.instance import COMING, DOWN, INSTANCE, LEAVING, Instance, InstanceEvent, InstanceStatus
from ultramarine.domain.names import Epoch, RunKey
from ultramarine.domain.run import INFRASTRUCTURE, RUN, Cause, Mode, OwnerNoun, Run, RunEvent, RunStatus, Tier
from ultramarine.domain.start_stop import StartStop
from ultramarine.planning import calendar
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.runs import run_key

S, E = InstanceStatus, InstanceEvent
SETUP_FAILED = 78  #: the exit code by which an instance says that a set-up script failed
FAILURES_MAX = 3  #: in a row, before it is given up
REST_S_MAX = 30.0
LINES = 50  #: of the log of what failed
NEVER_BETTER = frozenset({Cause.ENVIRONMENT, Cause.IMPOSSIBLE, Cause.INPUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class AddRun:
    """`instance` has counted it; `run` is queued like any other."""

    instance: Instance
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordInstance:
    instance: Instance
    event: InstanceEvent
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepInstance:
    """`instance` has another field than its row; it moves not."""

    instance: Instance


Action = AddRun | RecordInstance | KeepInstance | RecordRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An instance as it stands.

    `runs`: of this epoch, the oldest first. `answering`: of these, the run that answers, if one does.
    `has_other_machine`: whether one is held for it still that has not the size that it shall have.
    `home`: what was kept last of a home on another machine.
    """

    instance: Instance
    runs: Sequence[Run]
    answering: RunKey | None = None
    has_other_machine: bool = False
    home: str | None = None

    @property
    def open(self) -> list[Run]:
        return [run for run in self.runs if not run.is_final]

    @property
    def failures(self) -> list[Run]:
        """Runs, made since it was last asked for or came up, that ended by their own doing."""
        since = self.instance.changed_at
        return [run for run in self.runs if _has_failed(run) and run.created_at >= since]


def _has_failed(run: Run) -> bool:
    was_lost = run.ending is not None and run.ending.cause in INFRASTRUCTURE
    return run.is_final and run.status is not RunStatus.CANCELED and not was_lost


def plan(standing: Standing, now: datetime, *, epoch: Epoch) -> Iterator[Action]:
    """What is to be done for one instance now: one record of its row at most."""
    status, open_runs = standing.instance.status, standing.open
    if status in COMING:
        yield from _come_up(standing, now, epoch=epoch)
    elif status in LEAVING or status in DOWN:
        yield from _end(open_runs)
        is_gone = not open_runs and not (status is S.RESIZING and standing.has_other_machine)
        if is_gone and status in LEAVING:
            yield RecordInstance(instance=standing.instance, event=E.ENDED, reason=standing.instance.reason)
    elif not open_runs:
        words = standing.runs[-1].reason if standing.runs else "Its run is not known any more."
        yield RecordInstance(instance=standing.instance, event=E.WAS_LOST, reason=f"Started again: {words}")


def scheduled(
    instance: Instance, schedules: Sequence[StartStop], now: datetime
) -> RecordInstance | KeepInstance | None:
    """What its schedules want of it now. Written with it is up to when they are done, so nothing is wanted twice."""
    moment = calendar.due(schedules, after=instance.scheduled_at, now=now, made_at=instance.created_at)
    if moment is None:
        return None
    done = replace(instance, scheduled_at=moment.at)
    event = E.START_ASKED if moment.action == "start" else E.STOP_ASKED
    if event in instance.no_news or event not in INSTANCE.events(instance.status):
        return KeepInstance(instance=done)  # it is so already, or cannot be
    words = f"Its schedule of {moment.at:%Y-%m-%d %H:%M} UTC: {moment.action}."
    return RecordInstance(instance=done, event=event, reason=words)


def _come_up(standing: Standing, now: datetime, *, epoch: Epoch) -> Iterator[Action]:
    if (given_up := _give_up(standing)) is not None:
        yield given_up
    elif standing.open:
        if standing.open[-1].key == standing.answering:
            yield RecordInstance(instance=standing.instance, event=E.ANSWERS)
    elif not (_rests(standing, now) or standing.has_other_machine):
        yield _add(standing, now, epoch=epoch)


def _give_up(standing: Standing) -> RecordInstance | None:
    """One that cannot come up says why, with the end of its log."""
    if not (failures := standing.failures):
        return None
    last = failures[-1]
    ending = last.ending
    words = last.reason if ending is None else "\n".join([ending.words, *ending.tail.splitlines()[-LINES:]])
    if ending is not None and ending.cause is Cause.EXITED and ending.code == SETUP_FAILED:
        return RecordInstance(instance=standing.instance, event=E.SETUP_CRASHED, reason=words)
    is_hopeless = ending is not None and ending.cause in NEVER_BETTER
    if not is_hopeless and len(failures) < FAILURES_MAX:
        return None
    return RecordInstance(instance=standing.instance, event=E.GAVE_UP, reason=words)


def _rests(standing: Standing, now: datetime) -> bool:
    failures = standing.failures
    if not failures:
        return False
    last = max(run.ended_at for run in failures if run.ended_at is not None)
    return now < last + timedelta(seconds=min(REST_S_MAX, 2.0 ** (len(failures) - 1)))


def _end(open_runs: Sequence[Run]) -> Iterator[RecordRun]:
    for run in open_runs:
        if RunEvent.CANCEL_ASKED in RUN.events(run.status):
            yield RecordRun(run=run, event=RunEvent.CANCEL_ASKED, reason="Its instance is to stop.")


def _add(standing: Standing, now: datetime, *, epoch: Epoch) -> AddRun:
    instance = standing.instance
    counted = replace(instance, runs_made=instance.runs_made + 1)
    run = Run(
        key=run_key(epoch, f"i{instance.id}", counted.runs_made),
        workspace=instance.workspace,
        owner_noun=OwnerNoun.INSTANCE,
        owner_id=instance.id,
        owner_name=instance.name,
        ordinal=counted.runs_made,
        mode=Mode.INSTANCE,
        compute=instance.id,
        user=instance.owner,
        tier=Tier.PREMIUM,  # somebody waits for it
        checkpoint=standing.home,
        asked_at=now,
        created_at=now,
        changed_at=now,
    )
    return AddRun(instance=counted, run=run)
