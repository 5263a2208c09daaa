"""One timer for many: by a clock that stands still until it is moved."""

import asyncio
from collections.abc import Callable
from typing import cast

from ultramarine_serving.http.deadlines import FOREVER, Deadlines


class Timer:
    def __init__(self, when: float, rings: Callable[[], None]) -> None:
        self.when, self.rings, self.is_set = when, rings, True

    def cancel(self) -> None:
        self.is_set = False


class Clock:
    """What `Deadlines` knows of an event loop."""

    def __init__(self) -> None:
        self.now = 0.0
        self.made: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, rings: Callable[[], None]) -> Timer:
        self.made.append(Timer(when, rings))
        return self.made[-1]

    def call_later(self, delay: float, rings: Callable[[], None]) -> Timer:
        return self.call_at(self.now + delay, rings)

    @property
    def due(self) -> list[float]:
        return [each.when for each in self.made if each.is_set]

    def pass_until(self, now: float) -> None:
        while due := [each for each in self.made if each.is_set and each.when <= now]:
            due[0].is_set = False
            self.now = due[0].when
            due[0].rings()
        self.now = now


class Member:
    def __init__(self, deadlines: Deadlines) -> None:
        self.deadline = FOREVER
        self.over = 0
        deadlines.add(self)

    def time_out(self) -> None:
        self.over += 1


def begin(many: int) -> tuple[Clock, Deadlines, list[Member]]:
    clock = Clock()
    deadlines = Deadlines(cast(asyncio.AbstractEventLoop, clock))
    return clock, deadlines, [Member(deadlines) for _ in range(many)]


def test_each_is_told_once_when_its_own_time_is_over():
    clock, deadlines, (first, second) = begin(2)
    deadlines.set(first, 5)
    clock.pass_until(2)
    deadlines.set(second, 5)
    clock.pass_until(6)
    assert (first.over, second.over) == (1, 0)
    clock.pass_until(8)
    assert (first.over, second.over) == (1, 1)
    assert clock.due == []


def test_a_shorter_one_is_not_held_up_by_a_longer_one():
    clock, deadlines, (long, short) = begin(2)
    deadlines.set(long, 60)
    deadlines.set(short, 1)
    assert clock.due == [1]
    clock.pass_until(2)
    assert (long.over, short.over) == (0, 1)
    assert clock.due == [60]


def test_one_timer_is_enough_for_a_thousand_that_are_answered_in_time():
    clock, deadlines, (member,) = begin(1)
    for turn in range(1000):
        clock.now = turn / 1000
        deadlines.set(member, 5)
        member.deadline = FOREVER
    assert len(clock.made) == 1
    clock.pass_until(10)
    assert (member.over, clock.due) == (0, [])


def test_what_has_left_is_not_told():
    clock, deadlines, (member,) = begin(1)
    deadlines.set(member, 5)
    deadlines.discard(member)
    clock.pass_until(10)
    assert (member.over, clock.due) == (0, [])


def test_one_that_sets_another_deadline_as_it_is_told_is_told_again():
    clock, deadlines, (member,) = begin(1)
    told = member.time_out

    def again() -> None:
        told()
        if member.over == 1:
            deadlines.set(member, 5)

    member.time_out = again
    deadlines.set(member, 5)
    clock.pass_until(20)
    assert (member.over, clock.due) == (2, [])


def test_an_answer_that_is_there_when_a_held_up_loop_comes_to_look_is_in_time():
    clock, deadlines, (member,) = begin(1)
    deadlines.set(member, 5)
    clock.now = 30  # nothing was done for so long
    ringing = clock.made[0]
    ringing.is_set = False
    ringing.rings()
    member.deadline = FOREVER  # the answer, which had been waiting to be read
    clock.pass_until(40)
    assert (member.over, clock.due) == (0, [])
