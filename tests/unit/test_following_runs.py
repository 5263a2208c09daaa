"""When an attempt ends: the table of the design, row by row."""

from typing import Any

import pytest
from tests.factories import EPOCH, NOON, later, make_allocation, make_report, make_run, make_seen

from ultramarine.domain.names import NodeKey
from ultramarine.domain.run import INFRASTRUCTURE, INFRASTRUCTURE_RETRIES_MAX, Cause, Ending, Master, Mode, Peer, Run
from ultramarine.domain.run import RunEvent as E
from ultramarine.domain.run import RunStatus as S
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.runs import follow
from ultramarine.planning.seen import Seen

A, B = make_allocation(1), make_allocation(2)
ONE, TWO = (A.node,), (A.node, B.node)
MASTER = Master(address="127.0.0.1", port=0)


def placed(status: S = S.RUNNING, nodes: tuple[NodeKey, ...] = ONE, **different: Any) -> Run:
    return make_run(status=status, nodes=nodes, instance_count=len(nodes), **different)


def after(run: Run, seen: Seen, seconds: float = 1) -> RecordRun | None:
    return follow(run, seen, later(seconds), epoch=EPOCH)


def event(run: Run, seen: Seen, seconds: float = 1) -> E | None:
    made = after(run, seen, seconds)
    return None if made is None else made.event


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (Cause.COMPLETED, E.SUCCEEDED),
        (Cause.EXITED, E.CRASHED),
        (Cause.TIMEOUT, E.CRASHED),
        (Cause.OUT_OF_MEMORY, E.CRASHED),
        (Cause.ENVIRONMENT, E.CRASHED),
        (Cause.LEASE, E.NODE_LOST),
        (Cause.RUNNER, E.NODE_LOST),
    ],
)
@pytest.mark.parametrize("status", [S.PREPARING, S.RUNNING, S.FINALIZING, S.NOT_RESPONDING])
def test_a_run_ends_as_its_runner_reports(status: S, cause: Cause, expected: E) -> None:
    run = placed(status)
    assert event(run, make_seen({A.node: {run.key: make_report(cause=cause)}})) is expected


def test_no_beat_for_15_s_is_not_responding_and_a_word_makes_it_run_again() -> None:
    run = placed()
    heard = {A.node: {run.key: make_report("running")}}
    assert event(run, make_seen(heard), 15) is None
    assert event(run, make_seen(heard), 16) is E.FELL_SILENT
    silent = placed(S.NOT_RESPONDING)
    assert event(silent, make_seen(heard, heard_at=later(16)), 17) is E.STARTED


def test_a_run_that_was_cut_off_in_its_preparation_goes_on_preparing() -> None:
    run = placed(S.NOT_RESPONDING)
    assert event(run, make_seen({A.node: {run.key: make_report("preparing")}})) is E.STILL_PREPARING


def test_the_targets_positive_word_ends_it_now() -> None:
    run = placed()
    made = after(run, make_seen({A.node: {run.key: make_report("running")}}, ended=(A.key,)))
    assert made is not None
    assert (made.event, made.changes["ending"].cause) == (E.NODE_LOST, Cause.NODE_LOST)


def test_lease_and_margin_must_be_over_before_silence_is_a_fact() -> None:
    run = placed(S.NOT_RESPONDING)
    heard = make_seen({A.node: {run.key: make_report("running")}})
    assert event(run, heard, 315) is None
    assert event(run, heard, 316) is E.NODE_LOST


def test_every_lease_gets_a_full_term_from_when_we_began_to_listen() -> None:
    run = placed(S.NOT_RESPONDING)
    back = make_seen({A.node: {run.key: make_report("running")}}, listening_since=later(1000))
    assert event(run, back, 1315) is None
    assert event(run, back, 1316) is E.NODE_LOST


def test_a_run_that_its_runner_has_given_up_is_lost() -> None:
    run = placed(S.PREPARING)
    seen = make_seen({A.node: {}})
    assert event(run, seen) is None
    news = seen.nodes[A.node]
    told = make_seen(nodes={A.node: type(news)(heard_at=NOON, unknown=frozenset({run.key}))})
    assert event(run, told) is E.NODE_LOST


def test_a_run_that_nobody_asked_to_stop_has_lost_its_node() -> None:
    run = placed()
    made = after(run, make_seen({A.node: {run.key: make_report(cause=Cause.STOPPED)}}))
    assert made is not None
    assert made.event is E.NODE_LOST
    assert made.again is not None
    assert "shut down" in made.reason


def test_a_canceled_run_is_canceled_once_it_has_stopped_and_not_before() -> None:
    run = placed(S.CANCEL_REQUESTED)
    assert event(run, make_seen({A.node: {run.key: make_report("running")}})) is None
    assert event(run, make_seen({A.node: {run.key: make_report(cause=Cause.STOPPED)}})) is E.STOPPED
    assert event(run, make_seen({A.node: {run.key: make_report(cause=Cause.COMPLETED)}})) is E.SUCCEEDED


# Gangs


def test_the_barrier_opens_when_all_are_ready_and_says_where_the_first_is() -> None:
    run = placed(S.PREPARING, TWO)
    ready = make_report("ready", address="10.0.0.1", port=4000, ports=(4000, 4001))
    other = make_report("ready", address="10.0.0.2", port=5000)  # of a runner that names one port only
    half = make_seen({A.node: {run.key: ready}, B.node: {run.key: make_report("preparing")}})
    assert event(run, half) is None
    made = after(run, make_seen({A.node: {run.key: ready}, B.node: {run.key: other}}))
    assert made is not None
    assert (made.event, made.changes["master"]) == (
        E.ALL_READY,
        Master(
            address="10.0.0.1",
            port=4000,
            peers=(Peer(address="10.0.0.1", ports=(4000, 4001)), Peer(address="10.0.0.2", ports=(5000,))),
        ),
    )


def test_a_gang_is_running_when_all_of_it_runs() -> None:
    run = placed(S.PREPARING, TWO, master=MASTER)
    half = make_seen({A.node: {run.key: make_report("running")}, B.node: {run.key: make_report("ready")}})
    assert event(run, half) is None
    both = make_seen({node: {run.key: make_report("running")} for node in TWO})
    assert event(run, both) is E.STARTED


@pytest.mark.parametrize("status", [S.PREPARING, S.RUNNING, S.FINALIZING, S.NOT_RESPONDING])
def test_one_failure_ends_the_gang_which_is_over_when_the_last_has_stopped(status: S) -> None:
    run = placed(status, TWO)
    failed = make_report(cause=Cause.EXITED)
    first = after(run, make_seen({A.node: {run.key: failed}, B.node: {run.key: make_report("running")}}))
    assert first is not None
    assert (first.event, first.changes["ending"].cause) == (E.RANKS_ENDED, Cause.EXITED)
    ending = first.changes["ending"]
    stopping = placed(S.FINALIZING, TWO, ending=ending)
    rest = make_seen({A.node: {run.key: failed}, B.node: {run.key: make_report(cause=Cause.STOPPED)}})
    last = after(stopping, rest)
    assert last is not None
    assert (last.event, last.changes["ending"].cause) == (E.CRASHED, Cause.EXITED)


def test_what_is_being_ended_keeps_its_ending_when_it_falls_silent() -> None:
    stopping = placed(S.FINALIZING, TWO, ending=Ending(cause=Cause.NODE_LOST, words="Node lost."))
    assert event(stopping, make_seen({B.node: {stopping.key: make_report("running")}}), 100) is None


def test_a_lost_node_ends_the_gang() -> None:
    run = placed(S.RUNNING, TWO)
    made = after(run, make_seen({node: {run.key: make_report("running")} for node in TWO}, ended=(B.key,)))
    assert made is not None
    assert made.event is E.RANKS_ENDED
    assert "was lost" in made.reason


# Retries


def ended(run: Run, cause: Cause) -> RecordRun:
    made = after(run, make_seen({A.node: {run.key: make_report(cause=cause)}}))
    assert made is not None
    return made


def test_a_failure_is_tried_again_as_often_as_asked() -> None:
    made = ended(placed(retries_left=1), Cause.EXITED)
    assert made.again is not None
    assert (made.again.ordinal, made.again.retries_left, made.again.status) == (2, 0, S.QUEUED)
    assert (made.again.nodes, made.again.ending, made.again.master) == ((), None, None)
    assert made.again.key == f"{EPOCH}-j1-2"
    assert made.reason.endswith("Tried again as attempt 2.")
    assert ended(placed(retries_left=0), Cause.EXITED).again is None


@pytest.mark.parametrize("cause", sorted(INFRASTRUCTURE))
def test_losses_cost_no_retry_and_are_limited(cause: Cause) -> None:
    made = ended(placed(retries_left=1), cause)
    assert made.again is not None
    assert (made.again.losses, made.again.retries_left) == (1, 1)
    assert ended(placed(losses=INFRASTRUCTURE_RETRIES_MAX, retries_left=5), cause).again is None


@pytest.mark.parametrize("cause", [Cause.ENVIRONMENT, Cause.COMPLETED])
def test_what_would_come_out_the_same_is_not_tried_again(cause: Cause) -> None:
    assert ended(placed(retries_left=5), cause).again is None


def test_canceled_runs_and_replicas_are_not_tried_again() -> None:
    assert ended(placed(S.CANCEL_REQUESTED, retries_left=5), Cause.EXITED).again is None
    assert ended(placed(mode=Mode.SERVICE, retries_left=5), Cause.EXITED).again is None


def test_a_run_that_has_ended_before_it_was_seen_running_began_when_its_ranks_did() -> None:
    run = placed(S.PREPARING)
    for report in (make_report(cause=Cause.COMPLETED, started_at=later(2)), make_report(started_at=later(2))):
        made = after(run, make_seen({A.node: {run.key: report}}), 5)
        assert made is not None
        assert made.changes["started_at"] == later(2)


@pytest.mark.parametrize(("told", "kept"), [(-9, 0), (3, 3), (99, 5)])
def test_a_nodes_clock_puts_the_start_neither_before_the_run_nor_into_the_future(told: float, kept: float) -> None:
    run = placed(S.PREPARING)
    made = after(run, make_seen({A.node: {run.key: make_report(cause=Cause.EXITED, started_at=later(told))}}), 5)
    assert made is not None
    assert made.changes["started_at"] == later(kept)


def test_a_gang_began_with_its_first_rank_and_one_without_ranks_never_did() -> None:
    run = placed(S.PREPARING, TWO, master=MASTER)
    reports = {A.node: {run.key: make_report(started_at=later(3))}, B.node: {run.key: make_report(started_at=later(2))}}
    made = after(run, make_seen(reports), 5)
    assert made is not None
    assert made.changes["started_at"] == later(2)
    failed = after(placed(S.PREPARING), make_seen({A.node: {run.key: make_report(cause=Cause.ENVIRONMENT)}}), 5)
    assert failed is not None
    assert "started_at" not in failed.changes


def test_a_start_that_is_known_stays() -> None:
    run = placed(S.RUNNING, started_at=later(1))
    made = after(run, make_seen({A.node: {run.key: make_report(cause=Cause.COMPLETED, started_at=later(2))}}), 5)
    assert made is not None
    assert "started_at" not in made.changes


def test_a_gang_whose_other_ranks_fail_because_a_node_is_gone_has_lost_it() -> None:
    nodes = (make_allocation(1).node, make_allocation(2).node)
    told = Ending(cause=Cause.EXITED, code=255, words="Rank 0 exited with code 255.")
    run = make_run("j", status=S.FINALIZING, ending=told, nodes=nodes, instance_count=2)
    reports = {
        nodes[0]: {run.key: make_report(cause=Cause.EXITED)},
        nodes[1]: {run.key: make_report(cause=Cause.RUNNER)},
    }
    record = follow(run, make_seen(reports), later(1), epoch=EPOCH)
    assert record is not None
    assert record.event is E.NODE_LOST
    assert record.again is not None, "it is tried again without a retry of the user's"
