"""What the gateway's workers count, as one figure that never goes back."""

from typing import Any

from ultramarine.planning.traffic import Latencies, Traffic
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


def test_a_quantile_is_the_bound_below_which_so_many_lie():
    seconds = Latencies(bounds=BOUNDS, counts=(98, 1, 1), sum=1.0)
    assert [seconds.quantile(share) for share in (0.5, 0.98, 0.99, 1)] == [0.001, 0.001, 0.01, float("inf")]
    assert Latencies().quantile(0.99) is None
    assert seconds.since(Latencies(bounds=BOUNDS, counts=(97, 0, 0), sum=0.5)).counts == (1, 1, 1)


def test_nothing_counted_adds_nothing():
    blue = Traffic(requests=1, answers={"2xx": 1}, seconds=Latencies(bounds=BOUNDS, counts=(1, 0, 0), sum=0.1))
    assert blue.counted(Traffic()) == blue
