"""Which replicas a deployment is to have more, which are to go, and whether it has come up.

The first replica of a new deployment is tried alone; the others follow when it answers. One that is not wanted any more
leaves the route table first, and ends when no request can be under way to it. Where replicas are placed is the
scheduler's matter; one whose node is to go stays until another answers in its place, if there is room for another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
LINES = 50  #: of the log of what failed
RECENTLY = timedelta(minutes=5)
DRAIN_S_MIN = 1.0
NO_ROOM_S = 15.0  #: a replica that waits to be placed for so long is not waited for: a node that is to go goes
STUCK_S = 30.0  #: how much longer a replica is kept that a gateway which does not look still names


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOut:
    """Give a replica no more requests."""

    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBack:
    """Give a replica requests again that was about to go."""

    run: Run


Action = AddReplica | RecordDeployment | RecordRun | TakeOut | TakeBack


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A deployment as it stands, with its runs (open, and those that ended lately).

    `named`: those in the gateway's table; `reached`: those of them that it reaches. `leaving`: those that are to get no
    more requests, since when. `dead`: those that their liveness probe has given up, and why. `displaced`: those whose
    node is to go, and why it is.
    """

    deployment: Deployment
    runs: Sequence[Run]
    reached: frozenset[RunKey]
    named: frozenset[RunKey] = frozenset()
    leaving: Mapping[RunKey, datetime] = field(default_factory=dict[RunKey, datetime])
    dead: Mapping[RunKey, str] = field(default_factory=dict[RunKey, str])
    displaced: Mapping[RunKey, str] = field(default_factory=dict[RunKey, str])
    compute: ComputeId
    need: Amount

    @property
    def healthy(self) -> list[Run]:
        """Those that count: not on their way out, not silent."""
        gone = (RunStatus.CANCEL_REQUESTED, RunStatus.NOT_RESPONDING)
        return [run for run in self.runs if not run.is_final and run.status not in gone and not run.is_being_stopped]

    @property
    def staying(self) -> list[Run]:
        """Those that may stay, the first to be kept first: those that answer, then the oldest."""
        there = [run for run in self.healthy if run.key not in self.leaving and run.key not in self.displaced]
        return sorted(
            there, key=lambda run: (run.status is not RunStatus.RUNNING, run.key not in self.reached, run.ordinal)
        )

    def can_come_back(self, run: Run) -> bool:
        """It was about to go, for no other reason than that there were too many."""
        return run.key in self.leaving and run.key not in self.displaced

    @property
    def old(self) -> list[Run]:
        """Of those that stay, those of before a change that takes new ones."""
        return [run for run in self.staying if run.ordinal <= self.deployment.replicas_old]

    @property
    def new(self) -> list[Run]:
        """Of those that stay, those that are as the deployment is now."""
        return [run for run in self.staying if run.ordinal > self.deployment.replicas_old]

    @property
    def renews(self) -> bool:
        """Whether a new one is to come beside the old: one more at a time, the next when those before it answer."""
        new = self.new
        return bool(self.old) and len(new) < self.wanted and all(run.key in self.reached for run in new)

    @property
    def wanted(self) -> int:
        deployment = self.deployment
        if deployment.status is S.DELETING or (deployment.status is S.FAILED and not deployment.came_up):
            return 0
        is_new = deployment.status in (S.CREATING, S.UPDATING) and not deployment.came_up
        if is_new and not any(run.key in self.reached for run in self.healthy):
            return min(1, deployment.wanted)
        return deployment.wanted

    def surplus(self, now: datetime) -> list[Run]:
        """Those that are to go: what is not wanted, an old one for each new one that answers, and the displaced.

        These go when another has their place, or finds no room: so does one old one, where others answer meanwhile.
        """
        wanted, staying, new = self.wanted, self.staying, self.new
        renewed = sum(run.key in self.reached for run in new)
        answering = sum(run.key in self.reached for run in staying)
        without_room = sum(_finds_no_room(run, now) for run in staying)
        yielding = min(1, without_room) if answering > 1 else 0
        unwanted = [*self.old[max(0, wanted - renewed - yielding) :], *new[wanted:]]
        moving = [run for run in self.healthy if run.key in self.displaced and run.key not in self.leaving]
        return [*unwanted, *moving[max(0, wanted - answering - without_room) :]]

    @property
    def open(self) -> list[Run]:
        return [run for run in self.runs if not run.is_final]

    def failures(self, since: datetime) -> list[Run]:
        """Replicas that ended by their own doing though nobody had asked them to; a lost node is not theirs."""
        return [run for run in self.runs if _has_failed(run) and run.ended_at is not None and run.ended_at >= since]


def _finds_no_room(run: Run, now: datetime) -> bool:
    return run.status is RunStatus.QUEUED and now - run.created_at >= timedelta(seconds=NO_ROOM_S)


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
    if dead := _to_replace(standing):
        for run in dead:
            yield RecordRun(run=run, event=RunEvent.CANCEL_ASKED, reason=standing.dead[run.key])
        return
    wanted, staying = standing.wanted, standing.staying
    lacking = wanted - len(staying)
    if back := [run for run in standing.healthy if standing.can_come_back(run)][: max(0, lacking)]:
        yield from (TakeBack(run=run) for run in back)
        return
    if (lacking > 0 or standing.renews) and not _rests(standing, now):
        yield _add(standing, now, epoch=epoch)
    yield from _leave(standing, now)
    is_awaited = deployment.status in (S.CREATING, S.UPDATING) or (deployment.status is S.FAILED and deployment.came_up)
    if is_awaited and not standing.old and sum(run.key in standing.reached for run in staying) >= deployment.wanted:
        yield RecordDeployment(deployment=deployment, event=E.ALL_ANSWER, reason="")


def _to_replace(standing: Standing) -> list[Run]:
    """The dead, as many of them as leave half of the replicas in peace.

    When most look dead at once it is rather their machine, or who asks them, that is slow: then they are replaced a few
    at a time, the next ones when those before them are back.
    """
    healthy, wanted = standing.healthy, standing.wanted
    dead = [run for run in healthy if run.key in standing.dead]
    coming = sum(run.key not in standing.reached and run.key not in standing.dead for run in healthy)
    at_once = max(1, wanted // 2) - coming - max(0, wanted - len(healthy))
    return dead[: max(0, at_once)]


def _leave(standing: Standing, now: datetime) -> Iterator[Action]:
    """No request is sent to it any more; it ends when those that were sent have their answer, or their time is up."""

    def end(run: Run) -> RecordRun:
        words = standing.displaced.get(run.key)
        reason = "This replica is not wanted any more." if words is None else f"Its node is to go: {words}"
        return RecordRun(run=run, event=RunEvent.CANCEL_ASKED, reason=reason)

    for run in standing.surplus(now):
        yield TakeOut(run=run) if run.status is RunStatus.RUNNING else end(run)
    drain_s = max(DRAIN_S_MIN, standing.deployment.spec.request_settings.request_timeout_ms / 1000)
    for run in standing.healthy:
        if (since := standing.leaving.get(run.key)) is None:
            continue
        passed_s = (now - since).total_seconds()
        if passed_s >= drain_s + (STUCK_S if run.key in standing.named else 0):
            yield end(run)


def _give_up(standing: Standing) -> RecordDeployment | None:
    """A deployment that cannot come up says why, with the end of its log.

    A new one leaves nothing running; one that had come up goes on with what it has.
    """
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
    words = last.reason if ending is None else "\n".join([ending.words, *ending.tail.splitlines()[-LINES:]])
    return RecordDeployment(deployment=deployment, event=E.GAVE_UP, reason=f"Replica {last.ordinal}: {words}")


def _rests(standing: Standing, now: datetime) -> bool:
    """A replica that keeps failing is replaced ever more slowly, up to every 30 s; at once when a change is asked."""
    deployment = standing.deployment
    since = deployment.changed_at if deployment.status is S.UPDATING else now - RECENTLY
    failures = standing.failures(max(since, now - RECENTLY))
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
