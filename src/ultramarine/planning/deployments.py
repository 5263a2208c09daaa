"""How many replicas a deployment shall have, and whether it has come up.

Where they are placed is the scheduler's matter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ultramarine.domain.endpoint import Deployment, DeploymentEvent, DeploymentStatus
from ultramarine.domain.names import ComputeId, Epoch, RunKey
from ultramarine.domain.run import INFRASTRUCTURE, Cause, Mode, OwnerNoun, Run, RunEvent, RunStatus, Tier
from ultramarine.domain.size import Amount
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.runs import run_key

S, E = DeploymentStatus, DeploymentEvent
FAILURES_MAX = 3  #: of a deployment that has never come up, before it is given up
NEVER_BETTER = frozenset({Cause.ENVIRONMENT, Cause.IMPOSSIBLE, Cause.INPUT})
INIT_FAILED = 3  #: the scoring server's exit code when the model or `init()` fails
REST_S_MAX = 30.0
RECENTLY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddReplica:
    """`deployment` has counted it; `run` is queued like any other."""

    deployment: Deployment
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDeployment:
    deployment: Deployment
    event: DeploymentEvent
    reason: str = ""


Action = AddReplica | RecordDeployment | RecordRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A deployment as it stands, with its runs (open, and those that ended lately).

    `reached`: those that the gateway reaches.
    """

    deployment: Deployment
    runs: Sequence[Run]
    reached: frozenset[RunKey]
    compute: ComputeId
    need: Amount

    @property
    def healthy(self) -> list[Run]:
        """Those that count: not on their way out, not silent."""
        gone = (RunStatus.CANCEL_REQUESTED, RunStatus.NOT_RESPONDING)
        return [run for run in self.runs if not run.is_final and run.status not in gone and not run.is_being_stopped]

    @property
    def open(self) -> list[Run]:
        return [run for run in self.runs if not run.is_final]

    def failures(self, since: datetime) -> list[Run]:
        """Replicas that ended by their own doing though nobody had asked them to; a lost node is not theirs."""
        return [run for run in self.runs if _has_failed(run) and run.ended_at is not None and run.ended_at >= since]


def _has_failed(run: Run) -> bool:
    was_lost = run.ending is not None and run.ending.cause in INFRASTRUCTURE
    return run.is_final and run.status is not RunStatus.CANCELED and not was_lost


def plan(standing: Standing, now: datetime, *, epoch: Epoch) -> Iterator[Action]:
    """What is to be done for one deployment now: at most one record of its row, and any number of its replicas."""
    deployment = standing.deployment
    if deployment.status is S.DELETING and not standing.open:
        yield RecordDeployment(deployment=deployment, event=E.REPLICAS_ENDED)
        return
    if (given_up := _give_up(standing)) is not None:
        yield given_up
        return
    wanted = 0 if deployment.status in (S.DELETING, S.FAILED) else deployment.spec.instance_count
    healthy = standing.healthy
    if len(healthy) < wanted:
        if not _rests(standing, now):
            yield _add(standing, now, epoch=epoch)
        return
    for run in sorted(healthy, key=lambda run: run.ordinal)[wanted:]:
        yield RecordRun(run=run, event=RunEvent.CANCEL_ASKED, reason="This replica is not wanted any more.")
    if deployment.status in (S.CREATING, S.UPDATING) and sum(run.key in standing.reached for run in healthy) >= wanted:
        yield RecordDeployment(deployment=deployment, event=E.ALL_ANSWER, reason="")


def _give_up(standing: Standing) -> RecordDeployment | None:
    """A deployment that cannot come up says why, with the end of its log, and leaves nothing running."""
    deployment = standing.deployment
    if deployment.status not in (S.CREATING, S.UPDATING):
        return None
    failures = standing.failures(deployment.changed_at)
    if not failures:
        return None
    last = max(failures, key=lambda run: run.ordinal)
    ending = last.ending
    is_hopeless = ending is not None and (
        ending.cause in NEVER_BETTER or (ending.cause is Cause.EXITED and ending.code == INIT_FAILED)
    )
    if not is_hopeless and len(failures) < FAILURES_MAX:
        return None
    words = last.reason if ending is None else f"{ending.words}\n{ending.tail}".strip()
    return RecordDeployment(deployment=deployment, event=E.GAVE_UP, reason=f"Replica {last.ordinal}: {words}")


def _rests(standing: Standing, now: datetime) -> bool:
    """A replica that keeps failing is replaced ever more slowly, up to every 30 s."""
    failures = standing.failures(now - RECENTLY)
    if not failures:
        return False
    last = max(run.ended_at for run in failures if run.ended_at is not None)
    return now < last + timedelta(seconds=min(REST_S_MAX, 2.0 ** (len(failures) - 1)))


def _add(standing: Standing, now: datetime, *, epoch: Epoch) -> AddReplica:
    counted = replace(standing.deployment, replicas_made=standing.deployment.replicas_made + 1)
    run = Run(
        key=run_key(epoch, counted.id, counted.replicas_made),
        workspace=counted.workspace,
        owner_noun=OwnerNoun.DEPLOYMENT,
        owner_id=counted.id,
        owner_name=f"{counted.endpoint}/{counted.name}",
        ordinal=counted.replicas_made,
        mode=Mode.SERVICE,
        compute=standing.compute,
        need=standing.need,
        tier=Tier.PREMIUM,  # somebody waits for an answer
        asked_at=now,
        created_at=now,
        changed_at=now,
    )
    return AddReplica(deployment=counted, run=run)
