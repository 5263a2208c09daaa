"""What the newest news means for a run that is on nodes; and whether a failed one is tried again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ultramarine.domain.names import Epoch, NodeKey, RunKey, is_of
from ultramarine.domain.run import (
    EVENT_OF_CAUSE,
    INFRASTRUCTURE,
    INFRASTRUCTURE_RETRIES_MAX,
    ON_NODES,
    RUN,
    UNCOUNTED,
    Cause,
    Ending,
    Master,
    Mode,
    Peer,
    Run,
    RunEvent,
    RunReport,
    RunStatus,
)
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.seen import Seen, Silence

S, E = RunStatus, RunEvent
NOT_TRIED_AGAIN = frozenset({Cause.IMPOSSIBLE, Cause.ENVIRONMENT, Cause.STOPPED, Cause.COMPLETED})


@dataclass(frozen=True, slots=True, kw_only=True)
class _News:
    """A run's reports, node by node in the order of their ranks."""

    reports: tuple[RunReport | None, ...]
    lost: tuple[NodeKey, ...]
    silent: tuple[NodeKey, ...]
    endings: tuple[Ending, ...]

    @property
    def is_over(self) -> bool:
        """On each node it has ended, or the node is lost."""
        return len(self.endings) + len(self.lost) == len(self.reports)

    @property
    def checkpoint(self) -> str | None:
        """What this attempt has kept: the first node's."""
        first = self.reports[0]
        return None if first is None else first.checkpoint.snapshot

    def all_in(self, *phases: str) -> bool:
        return all(report is not None and report.phase in phases for report in self.reports)


def follow(run: Run, seen: Seen, now: datetime, *, epoch: Epoch) -> RecordRun | None:
    """The one thing to record of a run on nodes now, or None. Called again after each record."""
    if not is_of(run.key, epoch):
        return _of_before(run, seen, now, epoch=epoch)
    if run.status is S.RUNNING and all(_goes_on(run, node, seen, now) for node in run.nodes):
        return None  # as most do in most turns
    news = _news(run, seen, now)
    made = _next(run, news, seen, epoch=epoch, now=now)
    return None if made is None else _with_checkpoint(_with_start(made, news, now), news)


def _of_before(run: Run, seen: Seen, now: datetime, *, epoch: Epoch) -> RecordRun | None:
    """A run of before the restore, on nodes or queued: what has become of it since the backup, nobody knows.

    It, or a later attempt that the backup does not know of, may live until its lease is over. Replicas are in nobody's
    way: they are replaced at once.
    """
    if run.mode is not Mode.SERVICE and not seen.leases_are_over(now):
        is_news = run.status in ON_NODES and E.FELL_SILENT in RUN.events(run.status)
        return RecordRun(run=run, event=E.FELL_SILENT, reason=waits_after_restore(seen)) if is_news else None
    words = "It is of before the installation was restored from a backup, and nothing is known of it."
    return _finish(run, Ending(cause=Cause.RESTORED, words=words), epoch=epoch, now=now)


def waits_after_restore(seen: Seen) -> str:
    """Why a job that was there at the backup is not tried again yet."""
    patience = seen.patience
    return (
        "The installation was restored from a backup: it is tried again when no attempt of before can live any more, "
        f"{patience.lease_s + patience.margin_s:g} s after the start."
    )


def _with_start(made: RecordRun, news: _News, now: datetime) -> RecordRun:
    """With when its ranks began, as soon as that was said: a short run has ended before it was seen running.

    Nodes have clocks of their own: it is never before the run was made, nor in the future.
    """
    told = [report.started_at for report in news.reports if report is not None and report.started_at is not None]
    if made.run.started_at is not None or not told:
        return made
    at = min(max(min(told), made.run.created_at), now)
    return replace(made, changes={**made.changes, "started_at": at})


def _with_checkpoint(made: RecordRun, news: _News) -> RecordRun:
    """With the newest checkpoint, so that the next attempt begins with what this one has kept at its end."""
    kept = news.checkpoint
    if kept is None or kept == made.run.checkpoint:
        return made
    again = None if made.again is None else replace(made.again, checkpoint=kept)
    return replace(made, changes={**made.changes, "checkpoint": kept}, again=again)


def _goes_on(run: Run, node: NodeKey, seen: Seen, now: datetime) -> bool:
    """Its node was heard, lately, to run it."""
    report = seen.report(node, run.key)
    return report is not None and report.phase == "running" and seen.silence(node, now) is Silence.NONE


def _next(run: Run, news: _News, seen: Seen, *, epoch: Epoch, now: datetime) -> RecordRun | None:
    if news.is_over:
        return _finish(run, _decisive(run, news), epoch=epoch, now=now)
    if (bad := _first_bad(news)) is not None and not run.is_being_stopped:
        return RecordRun(run=run, event=E.RANKS_ENDED, reason=bad.words, changes={"ending": bad})
    if run.is_being_stopped:
        return None
    if news.silent and run.status is not S.NOT_RESPONDING:
        patience = seen.patience
        quiet = f"No word from node {news.silent[0]} for {patience.silent_after_s:g} s"
        return RecordRun(run=run, event=E.FELL_SILENT, reason=f"{quiet}; its lease is {patience.lease_s:g} s.")
    return None if news.silent else _advance(run, news)


def _news(run: Run, seen: Seen, now: datetime) -> _News:
    reports = tuple(seen.report(node, run.key) for node in run.nodes)
    ended = [report is not None and report.phase == "ended" for report in reports]
    silences = [
        Silence.NONE if is_ended else Silence.FINAL if seen.has_given_up(node, run.key) else seen.silence(node, now)
        for node, is_ended in zip(run.nodes, ended, strict=True)
    ]
    return _News(
        reports=reports,
        lost=tuple(n for n, s in zip(run.nodes, silences, strict=True) if s is Silence.FINAL),
        silent=tuple(n for n, s in zip(run.nodes, silences, strict=True) if s is Silence.NEW),
        endings=tuple(
            _ending(run, report.ended) for report in reports if report is not None and report.ended is not None
        ),
    )


def _ending(run: Run, told: Ending) -> Ending:
    """A run that was stopped though nobody had asked for it has lost its node.

    The machine, or its runner, was being shut down.
    """
    if told.cause is not Cause.STOPPED or run.is_being_stopped:
        return told
    return replace(told, cause=Cause.NODE_LOST, words=f"Its node was shut down. {told.words}".strip())


def _first_bad(news: _News) -> Ending | None:
    """What fails a gang: one node's failure, or one node's loss."""
    bad = [ending for ending in news.endings if ending.cause is not Cause.COMPLETED]
    if bad:
        return min(bad, key=lambda ending: ending.cause is Cause.STOPPED)
    return Ending(cause=Cause.NODE_LOST, words=f"Node {news.lost[0]} was lost.") if news.lost else None


def _loss(news: _News) -> Ending | None:
    """What the machine, and not the user's code, has done to one of its nodes."""
    lost = [ending for ending in news.endings if ending.cause in INFRASTRUCTURE]
    if lost:
        return lost[0]
    return Ending(cause=Cause.NODE_LOST, words=f"Node {news.lost[0]} was lost.") if news.lost else None


def _decisive(run: Run, news: _News) -> Ending:
    """How it ended as a whole: what was decided already, else the first failure, else success.

    Outputs of all nodes come together.
    """
    outputs = {name: manifest for ending in reversed(news.endings) for name, manifest in ending.outputs.items()}
    bad = _first_bad(news)
    was_faster = run.ending is not None and run.ending.cause is Cause.PREEMPTED and bad is None
    decided = (None if was_faster else run.ending) or bad or Ending(cause=Cause.COMPLETED)
    if decided.cause is Cause.EXITED:  # ranks fail as well when the node of another is gone, and are heard before it
        decided = _loss(news) or decided
    return replace(decided, outputs=outputs)


def _finish(run: Run, ending: Ending, *, epoch: Epoch, now: datetime) -> RecordRun:
    event = EVENT_OF_CAUSE[ending.cause]
    again = _again(run, ending, RUN.next(run.status, event), epoch=epoch, now=now)
    words = ending.words if again is None else f"{ending.words} Tried again as attempt {again.ordinal}."
    return RecordRun(run=run, event=event, reason=words, changes={"ending": ending}, again=again)


def _again(run: Run, ending: Ending, status: RunStatus, *, epoch: Epoch, now: datetime) -> Run | None:
    """The next attempt at a job whose attempt has failed, or None.

    Replicas are replaced by their deployment's planner.
    """
    if status is not S.FAILED or run.mode is not Mode.TASK:
        return None
    was_lost = ending.cause in INFRASTRUCTURE
    if was_lost and run.losses >= INFRASTRUCTURE_RETRIES_MAX:
        return None
    is_its_own = not was_lost and ending.cause not in UNCOUNTED
    if is_its_own and (run.retries_left == 0 or ending.cause in NOT_TRIED_AGAIN):
        return None
    return replace(
        run,
        key=run_key(epoch, run.owner_id, run.ordinal + 1),
        ordinal=run.ordinal + 1,
        losses=run.losses + was_lost,
        retries_left=run.retries_left - is_its_own,
        status=RUN.initial,
        reason=f"Attempt {run.ordinal}: {ending.words}",
        ending=None,
        nodes=(),
        gpu_ids={},
        master=None,
        sockets={},
        version=1,
        created_at=now,
        changed_at=now,
        started_at=None,
        ended_at=None,
    )


def _advance(run: Run, news: _News) -> RecordRun | None:
    """Preparing → ready → running → finalizing."""
    if news.all_in("finalizing", "ended"):
        return (
            None
            if run.status is S.FINALIZING
            else RecordRun(run=run, event=E.RANKS_ENDED, reason="Its outputs are being uploaded.")
        )
    if news.all_in("running", "finalizing", "ended"):
        return _started(run, news) if run.status in (S.PREPARING, S.NOT_RESPONDING) else None
    if run.status is S.NOT_RESPONDING:
        return RecordRun(run=run, event=E.STILL_PREPARING)
    if run.status is S.PREPARING and run.master is None and len(run.nodes) > 1 and news.all_in("ready"):
        master = _meeting([report for report in news.reports if report is not None])
        words = f"All {len(run.nodes)} nodes are ready."
        return RecordRun(run=run, event=E.ALL_READY, reason=words, changes={"master": master})
    return None


def _meeting(ready: Sequence[RunReport]) -> Master:
    """Where the nodes find each other; all of them have reported."""
    peers = tuple(Peer(address=report.address, ports=report.ports or (report.port,)) for report in ready)
    return Master(address=ready[0].address, port=ready[0].port, peers=peers)


def _started(run: Run, news: _News) -> RecordRun:
    sockets = {
        name: address for report in news.reports if report is not None for name, address in report.sockets.items()
    }
    return RecordRun(run=run, event=E.STARTED, changes={"sockets": sockets})


def run_key(epoch: Epoch, owner_id: str, ordinal: int) -> RunKey:
    """Our name for this attempt or replica, never given twice: the epoch changes when a backup is restored."""
    return RunKey(f"{epoch}-{owner_id}-{ordinal}")


def checkpoints(runs: Sequence[Run], seen: Seen) -> dict[RunKey, str]:
    """What runs on nodes have kept since it was last written.

    A report is of one attempt, and one that has ended is not asked: what comes late changes nothing.
    """
    kept: dict[RunKey, str] = {}
    for run in runs:
        report = seen.report(run.nodes[0], run.key) if run.nodes and run.status in ON_NODES else None
        if report is not None and report.checkpoint.snapshot not in (None, run.checkpoint):
            kept[run.key] = str(report.checkpoint.snapshot)
    return kept


def progress(placed: Sequence[Run], seen: Seen) -> dict[RunKey, str]:
    """What runs on nodes say of themselves, in words, where that has changed."""
    told = {run.key: words for run in placed if (words := _told(run, seen)) not in (None, run.reason)}
    return {key: str(words) for key, words in told.items()}


def _told(run: Run, seen: Seen) -> str | None:
    """In preparation what it is doing; while it runs what is wrong with its checkpoint, nothing being wrong: ""."""
    reports = [report for node in run.nodes if (report := seen.report(node, run.key)) is not None]
    match run.status:
        case S.PREPARING:
            return next((report.progress for report in reports if report.progress), None)
        case S.RUNNING:
            return reports[0].checkpoint.problem if reports else None
        case _:
            return None
