"""A replica's probes: how many bad answers in a row count, and how many good ones undo them."""

from tests.factories import NOON, later, make_run

from ultramarine.domain.endpoint import ProbeSettings
from ultramarine.planning.probing import Kind, Probing

SETTINGS = ProbeSettings(initial_delay=10, period=5, success_threshold=2, failure_threshold=3)
BAD, GOOD = "no answer in 2 s", ""


def after(*answers: str) -> Probing:
    probing = Probing(due_at=NOON)
    for number, answer in enumerate(answers):
        probing = probing.after(answer, SETTINGS, later(number))
    return probing


def test_nothing_is_asked_before_the_initial_delay():
    begun = make_run(started_at=later(7))
    assert Probing.of(begun, SETTINGS).due_at == later(17)


def test_the_next_is_due_after_a_period():
    assert after(GOOD, GOOD).due_at == later(1 + 5)


def test_so_many_bad_answers_in_a_row_and_it_is_not_well():
    assert after(BAD, BAD).is_well
    assert after(BAD, BAD, GOOD, BAD, BAD).is_well
    given_up = after(GOOD, BAD, BAD, BAD)
    assert not given_up.is_well
    words = "Its liveness probe failed 3 times in a row: no answer in 2 s."
    assert given_up.words(Kind.LIVENESS, SETTINGS) == words


def test_so_many_good_ones_and_it_is_again():
    assert not after(BAD, BAD, BAD, GOOD).is_well
    assert not after(BAD, BAD, BAD, GOOD, BAD, GOOD).is_well
    well = after(BAD, BAD, BAD, GOOD, GOOD)
    assert (well.is_well, well.words(Kind.READINESS, SETTINGS)) == (True, "")
