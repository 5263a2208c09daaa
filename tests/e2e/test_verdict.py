"""The verdict over a campaign finds what it is there to find."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .chaos import ledger, verdict
from .chaos.campaign import CANCELED, KINDS, NODE_CPUS, Planned, planned
from .chaos.ledger import Life
from .chaos.rows import Attempt
from .job.witness import line

FIRST = Attempt(
    key="e-j-1",
    ordinal=1,
    status="Failed",
    cause="node_lost",
    code=None,
    losses=0,
    retries_left=1,
    began_at=0,
    ended_at=9,
)
SECOND = replace(FIRST, key="e-j-2", ordinal=2, losses=1, cause="exited", code=7)
THIRD = replace(SECOND, key="e-j-3", ordinal=3, retries_left=0)
LIFE = Life(key="e-j-1", rank=0, first_s=1, last_s=2, lines=3, node="n")
JOB = Planned(name="j", kind=next(k for k in KINDS if k.name == "twice"), amount=3, at_s=0, cancel_s=None)
WHOLE = "".join(line("j", 0, number) for number in range(3))


def facts(*attempts: Attempt, shot: Sequence[str] = (), full: Sequence[tuple[float, float]] = ()) -> verdict.Facts:
    lives = {
        each.key: [replace(LIFE, key=each.key, first_s=each.ordinal, last_s=each.ordinal + 0.9)] for each in attempts
    }
    return verdict.Facts(attempts={"j": attempts}, lives=lives, shot=frozenset(shot), full=full)


def wrong(*attempts: Attempt, log: str = WHOLE) -> list[str]:
    return verdict.of_job(JOB, facts(*attempts), lambda attempt, rank: log)


def test_a_job_that_was_lost_once_and_failed_as_often_as_it_may_is_well():
    assert wrong(FIRST, SECOND, THIRD) == []


def test_an_end_that_is_not_its_kinds_is_found_unless_its_rank_was_shot_or_its_disk_full():
    completed = replace(THIRD, status="Completed", cause="completed", code=0)
    assert "is Completed, completed" in wrong(FIRST, SECOND, completed)[0]
    killed = replace(THIRD, code=137)
    assert wrong(FIRST, SECOND, killed) == ["j: its exit code is 137"]
    for excused in (
        facts(FIRST, SECOND, killed, shot=["e-j-3"]),
        facts(FIRST, SECOND, killed, full=[(8, 10)]),
    ):
        assert verdict.of_job(JOB, excused, lambda attempt, rank: WHOLE) == []


def test_the_disk_may_be_full_while_a_hog_of_it_runs_on_a_node_that_is_lost():
    hog = Planned(name="h", kind=next(k for k in KINDS if k.deed == "hog"), amount=8, at_s=0, cancel_s=None)
    ended_in_time = replace(SECOND, cause="disk_full", began_at=9, ended_at=12)
    attempts = {"h": [FIRST, ended_in_time], "j": [replace(FIRST, began_at=20, ended_at=30)]}
    assert verdict.unwatched([hog, JOB], attempts) == [(FIRST.began_at, FIRST.ended_at)]


def test_a_loss_that_is_counted_as_a_retry_and_a_retry_that_is_not_tried_are_found():
    assert "the next has 0 losses and 0 retries" in wrong(FIRST, replace(SECOND, losses=0, retries_left=0))[0]
    assert wrong(FIRST, SECOND) == ["j: it failed with retries left"]


def test_lines_that_are_lost_or_doubled_or_mixed_up_are_found():
    doubled = WHOLE + line("j", 0, 2)
    lost = line("j", 0, 0) + line("j", 0, 2)
    for log in (doubled, lost, WHOLE[:-1] + "?", "".join(line("j", 0, number) for number in range(2))):
        assert len(wrong(FIRST, SECOND, THIRD, log=log)) >= 2, log
    assert len(wrong(FIRST, log=line("j", 0, 0))) == 1, "only an attempt that was lost may lack its last lines"


def test_a_log_may_end_early_where_a_node_was_lost_while_its_job_ended_for_another_reason():
    stopped = replace(FIRST, status="Canceled", cause="stopped")
    found = replace(facts(stopped), hurt=frozenset({"n"}))
    canceled = replace(JOB, kind=replace(JOB.kind, ends=CANCELED))
    assert len(verdict.of_job(canceled, facts(stopped), lambda attempt, rank: "")) == 1
    assert verdict.of_job(canceled, found, lambda attempt, rank: "") == []


def test_two_attempts_that_live_at_once_are_found():
    after = replace(LIFE, key="e-j-2", first_s=1.5, last_s=3)
    assert ledger.at_once(["e-j-1", "e-j-2"], {"e-j-1": [LIFE], "e-j-2": [after]}) == [
        "e-j-2 began 0.500 s before e-j-1 had ended"
    ]
    assert ledger.at_once(["e-j-1", "e-j-2"], {"e-j-1": [LIFE], "e-j-2": [replace(after, first_s=2.5)]}) == []


def test_a_node_with_more_on_it_than_it_has_is_found():
    lives = {"a": [replace(LIFE, key="a")], "b": [replace(LIFE, key="b", first_s=1.5)]}
    assert ledger.crowded(lives, {"a": 0.5, "b": 0.5}) == []
    assert ledger.crowded(lives, {"a": 0.5, "b": 1.0}) == ["n had ['a', 'b'] at once"]
    assert ledger.crowded({**lives, "b": [replace(LIFE, key="b", node="m")]}, {"a": 1.0, "b": 1.0}) == []


def test_a_page_of_the_ledger_is_read_as_its_rank_has_written_it(tmp_path: Path):
    (tmp_path / "e-j-1.0").write_text("1.0000 2.0000 00000003 n\n")
    (tmp_path / "j.failed.e-j-1").touch()
    assert ledger.read(tmp_path) == {"e-j-1": [LIFE]}


def test_a_plan_follows_from_its_dice_and_has_every_kind():
    plans = [planned(random.Random("seed"), count=60, seconds=10) for _ in range(2)]
    assert plans[0] == plans[1]
    assert {job.kind.name for job in plans[0]} == {kind.name for kind in KINDS}
    assert {kind.part for kind in KINDS} == {0.5, 1.0}
    assert NODE_CPUS > 0
