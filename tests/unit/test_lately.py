"""What came in the last minute, and what a replica has to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.factories import later

from ultramarine.planning.lately import History, ReplicaLoad
from ultramarine.planning.traffic import Latencies, Traffic

BLUE = ("w/cancer", "blue")


def counted(requests: int, *, errors: int = 0) -> Traffic:
    seconds = Latencies(bounds=(0.001, 0.01), counts=(requests, errors, 0), sum=requests * 0.0005)
    return Traffic(requests=requests + errors, answers={"2xx": requests, "5xx": errors}, seconds=seconds)


@given(st.lists(st.integers(0, 500), min_size=70, max_size=150))
def test_it_is_of_a_minute_whenever_it_is_asked(each_second: list[int]):
    history, total, looks = History(), 0, list[tuple[int, int]]()
    for second, requests in enumerate(each_second):
        total += requests
        looks.append((second, total))
        history.take({BLUE: counted(total)}, later(second))
    end = len(each_second) - 1
    found = history.lately(BLUE, counted(total), later(end))
    assert found is not None
    assert 60 <= found.seconds < 65
    assert found.counted.requests == total - dict(looks)[end - int(found.seconds)]
    assert found.per_s == pytest.approx(found.counted.requests / found.seconds)


def test_before_a_minute_is_over_it_is_of_what_there_was():
    history = History()
    history.take({BLUE: counted(1000)}, later(0))
    assert history.lately(BLUE, counted(1000), later(0)) is None, "nothing can be said yet"
    found = history.lately(BLUE, counted(1300, errors=20), later(10))
    assert found is not None
    assert (found.seconds, found.per_s, found.counted.errors) == (10, 32, 20)
    assert found.counted.seconds.count == 320


def test_a_deployment_that_came_later_is_told_from_then_on():
    history = History()
    history.take({}, later(0))
    history.take({BLUE: counted(10)}, later(50))
    found = history.lately(BLUE, counted(40), later(60))
    assert found is not None
    assert (found.seconds, found.counted.requests) == (10, 30)
    assert history.lately(("w/cancer", "green"), counted(1), later(60)) is None


def test_a_clock_that_is_set_back_begins_anew():
    history = History()
    history.take({BLUE: counted(10)}, later(1000))
    history.take({BLUE: counted(20)}, later(0))
    found = history.lately(BLUE, counted(30), later(10))
    assert found is not None
    assert (found.seconds, found.counted.requests) == (10, 10)


def said(requests: int, calls: int) -> dict[str, int]:
    return {"workers": 1, "requests": requests, "calls": calls, "waiting": 3, "in_work": 2}


def test_how_many_share_a_call_is_of_those_since_the_last_look():
    first = ReplicaLoad.read(said(100, 100), before=None)
    second = ReplicaLoad.read(said(500, 150), before=first)
    idle = ReplicaLoad.read(said(500, 150), before=second)
    begun_anew = ReplicaLoad.read(said(30, 10), before=idle)
    assert [each.per_call for each in (first, second, idle, begun_anew)] == [1, 8, 8, 3]
    assert ReplicaLoad.read(said(0, 0), before=None).per_call is None


@pytest.mark.parametrize(
    "nonsense",
    [None, [], "x", {}, said(1, 1) | {"waiting": -1}, said(1, 1) | {"calls": "9"}, said(1, 1) | {"calls": 1.5}],
)
def test_what_is_no_answer_is_refused(nonsense: object):
    with pytest.raises(ValueError, match="no answer of a replica"):
        ReplicaLoad.read(nonsense, before=None)
