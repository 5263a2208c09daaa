"""What is of before a restore: nothing of it is taken for ours, and no job lives twice."""

from typing import Any

import pytest
from tests.factories import (
    EPOCH,
    make_allocation,
    make_cluster,
    make_local,
    make_node,
    make_report,
    make_run,
    make_seen,
    make_state,
)
from tests.unit.turns import added, heard, placed, turn

from ultramarine.domain.allocation import AllocationEvent, AllocationStatus
from ultramarine.domain.names import AllocationKey, Epoch, RunKey
from ultramarine.domain.run import Cause, Mode, OwnerNoun, Run, RunEvent, RunStatus
from ultramarine.planning.actions import CallAllocate, CallForget, CallRelease, CallSweep, RecordAllocation, RecordRun
from ultramarine.planning.seen import AllocationNews

BEFORE = Epoch("e0")
OVER_S = 316.0  #: lease and margin, and a second
OLD = make_allocation(key=AllocationKey(f"{BEFORE}-c1-1"), status=AllocationStatus.UP)


def of_before(name: str = "j1", **different: Any) -> Run:
    return make_run(name, key=RunKey(f"{BEFORE}-{name}-1"), **different)


def running(**different: Any) -> Run:
    return of_before(status=RunStatus.RUNNING, nodes=(OLD.node,), **different)


def test_a_run_of_another_epoch_is_told_by_its_key() -> None:
    state = make_state(runs=[of_before("a"), make_run("b")])
    assert [run.owner_name for run in state.queued] == ["b"]
    assert make_run("b").key.startswith(EPOCH)


@pytest.mark.parametrize("run", [of_before(), running()], ids=["queued", "running"])
def test_a_job_that_was_there_at_the_backup_is_tried_again_when_no_lease_can_last(run: Run) -> None:
    state = make_state(runs=[run], allocations=[make_allocation(status=AllocationStatus.UP)])
    early = turn(state, heard(*state.allocations), 300)
    assert placed(early) == {}
    assert not [record for record in early.records if isinstance(record, RecordRun) and record.again]
    [record] = [r for r in turn(state, heard(*state.allocations), OVER_S).records if isinstance(r, RecordRun)]
    assert (record.event, record.changes["ending"].cause) == (RunEvent.RESTORED, Cause.RESTORED)
    assert record.again is not None
    assert (record.again.key, record.again.ordinal, record.again.losses) == (f"{EPOCH}-j1-2", 2, 0)


def test_it_says_meanwhile_what_it_waits_for() -> None:
    made = turn(make_state(runs=[of_before()]), make_seen())
    assert "restored from a backup" in made.reasons[of_before().key]
    [record] = turn(make_state(runs=[running()]), make_seen()).records
    assert isinstance(record, RecordRun)
    assert (record.event, "restored from a backup" in record.reason) == (RunEvent.FELL_SILENT, True)


def test_each_restore_gives_a_full_term_from_when_we_began_to_listen() -> None:
    state = make_state(runs=[of_before()])
    assert turn(state, make_seen(listening_since=make_run().created_at), OVER_S).records
    late = make_seen(listening_since=make_run().created_at.replace(hour=13))
    assert turn(state, late, 3600 + 300).records == ()


def test_what_a_runner_of_before_says_is_not_followed() -> None:
    run = running()
    seen = make_seen({OLD.node: {run.key: make_report(cause=Cause.COMPLETED)}})
    made = turn(make_state(runs=[run], allocations=[OLD], nodes=[make_node(OLD)]), seen)
    assert RunEvent.SUCCEEDED not in [r.event for r in made.records if isinstance(r, RecordRun)]


def test_a_canceled_job_of_before_is_canceled_and_not_tried_again() -> None:
    run = running().after(RunEvent.CANCEL_ASKED, now=running().changed_at)
    [record] = turn(make_state(runs=[run]), make_seen(), OVER_S).records
    assert isinstance(record, RecordRun)
    assert (record.runs(run.changed_at)[0].status, record.again) == (RunStatus.CANCELED, None)


def test_a_replica_of_before_ends_at_once_for_its_deployment_makes_another() -> None:
    replica = running(owner_noun=OwnerNoun.DEPLOYMENT, mode=Mode.SERVICE)
    [record] = turn(make_state(runs=[replica]), make_seen()).records
    assert isinstance(record, RecordRun)
    assert (record.event, record.again) == (RunEvent.RESTORED, None)


def test_a_node_of_before_gets_no_work_and_another_is_made() -> None:
    run = make_run("new")
    made = turn(make_state(runs=[run], allocations=[OLD], nodes=[make_node(OLD)]), heard(OLD))
    assert placed(made) == {}
    assert added(made) == [f"{EPOCH}-c1-1"]


@pytest.mark.parametrize("status", [s for s in AllocationStatus if s.value not in ("Ended", "Forgotten")])
def test_an_allocation_of_before_is_swept_where_it_is_seen_and_then_written_off(status: AllocationStatus) -> None:
    old = make_allocation(key=OLD.key, status=status)
    seen_alive = make_seen(allocations={old.key: AllocationNews(state="up")})
    made = turn(make_state(allocations=[old], nodes=[make_node(old)]), seen_alive)
    assert (made.records, made.effects) == ((), (CallSweep(key=old.key, is_over=False),))
    for seen in (make_seen(), make_seen(ended=(old.key,))):
        gone = turn(make_state(allocations=[old], nodes=[make_node(old)]), seen)
        [record] = gone.records
        assert isinstance(record, RecordAllocation)
        assert record.event is AllocationEvent.FOUND_ENDED
        assert not [e for e in gone.effects if isinstance(e, CallAllocate | CallRelease | CallForget)]


def test_an_allocation_of_before_that_has_ended_is_forgotten_without_a_word_to_the_driver() -> None:
    """It may be another installation's on this machine: the one that the backup was made of."""
    old = make_allocation(key=OLD.key, status=AllocationStatus.ENDED)
    made = turn(make_state(allocations=[old]), make_seen())
    assert made.effects == ()
    assert made.records == (RecordAllocation(allocation=old, event=AllocationEvent.CLEANED_UP),)


def test_it_holds_its_room_as_long_as_it_is_seen_alive() -> None:
    cluster = make_cluster(size_name="cpu-1")
    olds = [make_allocation(key=AllocationKey(f"{BEFORE}-c1-{n}"), status=AllocationStatus.UP) for n in range(4)]
    alive = make_seen(allocations={old.key: AllocationNews(state="up") for old in olds})
    full = make_state(runs=[make_run("new")], computes=[cluster], allocations=olds)
    assert added(turn(full, alive)) == []
    assert added(turn(make_state(runs=[make_run("new")], computes=[cluster]), alive)) == [f"{EPOCH}-c1-1"]


def test_nothing_of_before_keeps_a_new_job_from_running_on_the_machine_itself() -> None:
    local = make_local()
    node = make_allocation(compute=local, status=AllocationStatus.UP)
    new = make_run("new", compute=local.id, need=local.size)
    state = make_state(runs=[of_before("old", compute=local.id), new], computes=[local], allocations=[node])
    assert placed(turn(state, heard(node))) == {"new": (node.node,)}
