"""What the gateway's workers count, as one figure that never goes back."""

from math import ceil
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ultramarine.planning.traffic import Latencies, Mirrored, Traffic
from ultramarine.routing.totals import Totals

BLUE = ("w/cancer", "blue")
BOUNDS = [0.001, 0.01]


def said(pid: int, requests: int, *, in_flight: int = 0, up: int = 1, name: str = "blue") -> dict[str, Any]:
    """A worker's status."""
    seconds = {"bounds": BOUNDS, "counts": [0, requests, 0], "sum": requests * 0.125}
    mirrored = {"compared": requests, "agreed": requests, "failed": 0, "dropped": 0, "seconds": seconds}
    gauges = {"in_flight": in_flight, "queued": 1, "held": 0, "up": up}
    counted = {"requests": requests, "answers": {"2xx": requests}, "seconds": seconds, "mirrored": mirrored}
    return {"pid": pid, "endpoints": {"w/cancer": {"deployments": {name: {**gauges, **counted}}}}}


def test_workers_are_summed():
    totals = Totals()
    totals.take("0", said(1, 10, in_flight=2, up=3))
    totals.take("1", said(2, 5, in_flight=1, up=2))
    blue = totals.traffic()[BLUE]
    assert (blue.in_flight, blue.queued, blue.requests, blue.answers) == (3, 2, 15, {"2xx": 15})
    assert (blue.seconds.counts, blue.seconds.sum) == ((0, 15, 0), 1.875)
    assert (blue.mirrored.compared, blue.mirrored.seconds.count) == (15, 15)
    assert blue.up == 2  # one of them does not reach a replica


def test_a_worker_that_starts_again_takes_nothing_away():
    totals = Totals()
    totals.take("0", said(1, 10, in_flight=7))
    totals.take("0", said(2, 1))
    totals.take("0", said(3, 2))
    blue = totals.traffic()[BLUE]
    assert (blue.in_flight, blue.requests, blue.answers, blue.seconds.count) == (0, 13, {"2xx": 13}, 13)


def test_a_deployment_that_was_deleted_and_made_again_takes_nothing_away():
    totals = Totals()
    totals.take("0", said(1, 10))
    totals.take("0", said(1, 3))
    assert totals.traffic()[BLUE].requests == 13


def test_a_worker_that_does_not_answer_counts_with_its_last_word_and_one_that_is_gone_with_what_it_counted():
    totals = Totals()
    totals.take("0", said(1, 10))
    totals.take("1", said(2, 5, in_flight=4))
    totals.keep_only(["0", "1"])
    assert totals.traffic()[BLUE].in_flight == 4
    totals.keep_only(["0"])
    assert (totals.traffic()[BLUE].in_flight, totals.traffic()[BLUE].requests) == (0, 15)


def test_what_is_in_no_table_any_more_is_forgotten():
    totals = Totals()
    totals.take("0", said(1, 10))
    totals.take("0", said(1, 4, name="green"))
    totals.keep_only(["0"])
    assert totals.traffic().keys() == {("w/cancer", "green")}
    totals.take("0", said(1, 1))
    assert totals.traffic()[BLUE].requests == 1


@given(st.lists(st.floats(0.0001, 9), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_lies_within_the_bounds_of_the_true_one(durations: list[float], share: float):
    bounds = (0.001, 0.01, 0.1, 1.0, 10.0)
    counts = [0] * (len(bounds) + 1)
    for each in durations:
        counts[next(at for at, bound in enumerate(bounds) if each <= bound)] += 1
    found = Latencies(bounds=bounds, counts=counts).quantile(share)
    exact = sorted(durations)[max(0, ceil(share * len(durations)) - 1)]
    low = max([0.0, *(bound for bound in bounds if bound < exact)])
    assert found is not None
    assert low <= found <= next(bound for bound in bounds if exact <= bound)


def test_of_what_is_above_all_bounds_no_more_is_known():
    seconds = Latencies(bounds=BOUNDS, counts=(98, 1, 1), sum=1.0)
    assert [seconds.quantile(share) for share in (0.49, 0.99, 1)] == [0.0005, 0.01, 0.01]
    assert Latencies().quantile(0.99) is None


def test_what_has_come_after_an_earlier_look():
    seconds = Latencies(bounds=BOUNDS, counts=(98, 1, 1), sum=1.0)
    assert seconds.since(Latencies(bounds=BOUNDS, counts=(97, 0, 0), sum=0.5)).counts == (1, 1, 1)
    before = Traffic(requests=10, answers={"2xx": 9, "5xx": 1}, mirrored=Mirrored(compared=2, agreed=1))
    now = Traffic(
        in_flight=3, requests=30, answers={"2xx": 25, "5xx": 3, "429": 2}, mirrored=Mirrored(compared=5, agreed=2)
    )
    since = now.since(before)
    assert (since.in_flight, since.requests, since.errors) == (3, 20, 2)
    assert (since.answers["429"], since.mirrored.compared, since.mirrored.agreed) == (2, 3, 1)


def test_nothing_counted_adds_nothing():
    blue = Traffic(requests=1, answers={"2xx": 1}, seconds=Latencies(bounds=BOUNDS, counts=(1, 0, 0), sum=0.1))
    assert blue.counted(Traffic()) == blue
