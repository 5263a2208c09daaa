"""Whose turn it is: tier, then priority, then fair shares, then age."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.factories import cpus, later, make_host, make_run, make_state

from ultramarine.domain.run import Run, RunStatus, Tier
from ultramarine.domain.size import Amount
from ultramarine.planning.queue import in_order, ordered

NOBODY: dict[str, float] = {}


def at(name: str, second: float, **different: Any) -> Run:
    return make_run(name, asked_at=later(second), **different)


def names(runs: Any) -> list[str]:
    return [run.owner_name for run in runs]


def one(run: Run) -> float:
    return 1.0


def test_the_older_goes_first() -> None:
    assert names(ordered([at("b", 2), at("a", 1), at("c", 3)], NOBODY, one)) == ["a", "b", "c"]


def test_tier_comes_before_priority_and_priority_before_age() -> None:
    runs = [
        at("spot", 0, tier=Tier.SPOT, priority=1),
        at("old", 1),
        at("urgent", 2, priority=1),
        at("premium", 3, tier=Tier.PREMIUM, priority=-1),
        at("basic", 0, tier=Tier.BASIC),
    ]
    assert names(ordered(runs, NOBODY, one)) == ["premium", "urgent", "old", "basic", "spot"]


def test_users_take_turns_though_one_was_there_first_with_many() -> None:
    runs = [at(f"a{n}", n, user="ann") for n in range(3)] + [at(f"b{n}", 10 + n, user="bob") for n in range(2)]
    assert names(ordered(runs, NOBODY, one)) == ["a0", "b0", "a1", "b1", "a2"]


def test_who_holds_much_waits_for_those_who_hold_little() -> None:
    runs = [at("a", 0, user="ann"), at("b0", 1, user="bob"), at("b1", 2, user="bob")]
    assert names(ordered(runs, {"ann": 1.5}, one)) == ["b0", "b1", "a"]


def test_what_runs_counts_as_what_is_held_and_by_its_dominant_share() -> None:
    """Ann's GPU is all of the machine's; Bob has half of its CPUs."""
    gpu = Amount(cpus_milli=100, memory_bytes=1, gpus=1)
    runs = [
        make_run("ann-runs", user="ann", need=gpu, status=RunStatus.RUNNING),
        make_run("bob-runs", user="bob", need=cpus(2), status=RunStatus.RUNNING),
        at("ann-waits", 1, user="ann"),
        at("bob-waits", 2, user="bob"),
    ]
    state = make_state(runs=runs, hosts=[make_host(total=cpus(4, gpus=1), gpu_ids=("G0",))])
    assert names(in_order(state)) == ["bob-waits", "ann-waits"]


def test_an_attempt_after_another_keeps_the_place_of_its_job() -> None:
    again = make_run("first", ordinal=2, asked_at=later(0), created_at=later(99))
    assert names(ordered([at("second", 1), again], NOBODY, one)) == ["first", "second"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([-1, 0, 1]), st.floats(0.1, 2)), max_size=30))
def test_every_run_is_in_line_once_and_no_user_is_ahead_by_more_than_one_run(jobs: list[Any]) -> None:
    cost = {f"j{n}": share for n, (_, _, share) in enumerate(jobs)}
    runs = [at(f"j{n}", n, user=user, priority=priority) for n, (user, priority, _) in enumerate(jobs)]
    line = ordered(runs, NOBODY, lambda run: cost[run.owner_name])
    assert sorted(names(line)) == sorted(names(runs))
    assert [run.priority for run in line] == sorted((run.priority for run in runs), reverse=True)
    if len({run.priority for run in runs}) == 1:
        _is_fair(line, cost)


def _is_fair(line: Any, cost: dict[str, float]) -> None:
    """While two users both still wait, neither has got more than the other and one run more."""
    held: dict[str, float] = {}
    for index, run in enumerate(line):
        waiting = {each.user for each in line[index:]}
        assert all(held.get(run.user, 0) <= held.get(user, 0) + 1e-9 for user in waiting)
        held[run.user] = held.get(run.user, 0) + cost[run.owner_name]
