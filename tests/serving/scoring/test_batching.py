import asyncio
import dataclasses
import threading
from collections.abc import Sequence

import pytest

from ultramarine_serving.scoring.batching import Batcher, Limits
from ultramarine_serving.scoring.turns import Full, Patience
from ultramarine_serving.scoring.worker import Worker

INLINE_MAX_S = 0.02
LIMITS = Limits(rows_max=8, requests_max=8, waiting_max=20, inline_max_s=INLINE_MAX_S, patience=Patience())


class Model:
    """Doubles numbers, refuses negative ones, and remembers each call. With a gate, calls wait until it opens."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.calls: list[list[int]] = []
        self.threads: set[str] = set()
        self.entered = threading.Event()
        self._gate = gate

    def __call__(self, asked: Sequence[int]) -> Sequence[str]:
        self.calls.append(list(asked))
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        if self._gate is not None:
            self._gate.wait(10)
        if any(number < 0 for number in asked):
            raise ValueError("negative")
        return [str(number * 2) for number in asked]


def made(model: Model, limits: Limits = LIMITS) -> Batcher[int, str]:
    loop = asyncio.get_running_loop()
    return Batcher(model, lambda asked, error: f"refused: {error!r}", limits=limits, worker=Worker(loop), loop=loop)


async def test_requests_of_one_turn_share_a_call():
    model = Model()
    batcher = made(model)
    futures = [batcher.submit(number, kind="k", rows=1) for number in range(5)]
    assert await asyncio.gather(*futures) == ["0", "2", "4", "6", "8"]
    assert model.calls == [[0, 1, 2, 3, 4]]


async def test_what_comes_while_the_model_is_busy_is_the_next_call():
    gate = threading.Event()
    model = Model(gate)
    batcher = made(model)
    first = batcher.submit(1, kind="k", rows=1)
    await asyncio.to_thread(model.entered.wait, 10)
    later = [batcher.submit(number, kind="k", rows=1) for number in (2, 3, 4)]
    gate.set()
    assert await asyncio.gather(first, *later) == ["2", "4", "6", "8"]
    assert model.calls == [[1], [2, 3, 4]]


async def test_a_bad_request_in_a_batch_fails_alone():
    model = Model()
    batcher = made(model)
    futures = [batcher.submit(number, kind="k", rows=1) for number in (1, -1, 3)]
    assert await asyncio.gather(*futures) == ["2", "refused: ValueError('negative')", "6"]


async def test_a_call_has_no_more_rows_than_it_may():
    model = Model()
    batcher = made(model)
    await asyncio.gather(*[batcher.submit(number, kind="k", rows=3) for number in range(5)])
    assert model.calls == [[0, 1], [2, 3], [4]]


async def test_a_request_larger_than_a_call_may_be_goes_alone():
    model = Model()
    batcher = made(model)
    await asyncio.gather(*[batcher.submit(number, kind="k", rows=rows) for number, rows in enumerate((1, 100, 1))])
    assert model.calls == [[0], [1], [2]]


async def test_requests_of_different_kinds_are_not_put_together():
    model = Model()
    batcher = made(model)
    await asyncio.gather(*[batcher.submit(number, kind=kind, rows=1) for number, kind in enumerate("aabba")])
    assert model.calls == [[0, 1], [2, 3], [4]]


async def test_a_model_that_is_not_row_wise_gets_one_request_a_call():
    model = Model()
    batcher = made(model, dataclasses.replace(LIMITS, requests_max=1))
    await asyncio.gather(*[batcher.submit(number, kind="k", rows=1) for number in range(3)])
    assert model.calls == [[0], [1], [2]]


async def test_a_quick_model_comes_to_be_called_in_the_loop():
    model = Model()
    batcher = made(model)
    for number in range(20):
        await batcher.submit(number, kind="k", rows=1)
    assert threading.main_thread().name in model.threads


async def test_a_slow_model_is_called_in_the_worker_so_that_the_loop_is_free():
    model = Model(SlowGate(INLINE_MAX_S * 2))
    batcher = made(model)
    for number in range(3):
        await batcher.submit(number, kind="k", rows=1)
    assert model.threads == {"scoring"}


class SlowGate(threading.Event):
    """A gate that takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(self._seconds)


async def test_a_request_whose_client_has_gone_is_not_scored():
    gate = threading.Event()
    model = Model(gate)
    batcher = made(model)
    first = batcher.submit(1, kind="k", rows=1)
    await asyncio.to_thread(model.entered.wait, 10)
    gone, kept = batcher.submit(2, kind="k", rows=1), batcher.submit(3, kind="k", rows=1)
    gone.cancel()
    gate.set()
    await asyncio.gather(first, kept)
    assert model.calls == [[1], [3]]


async def test_more_requests_than_may_wait_are_refused():
    batcher = made(Model(), dataclasses.replace(LIMITS, waiting_max=2))
    futures = [batcher.submit(number, kind="k", rows=1) for number in range(2)]
    with pytest.raises(Full):
        batcher.submit(3, kind="k", rows=1)
    await asyncio.gather(*futures)


async def test_a_model_that_raises_what_no_future_can_hold_answers_still():
    def stops(asked: Sequence[int]) -> Sequence[str]:
        raise StopIteration("odd")

    loop = asyncio.get_running_loop()
    batcher = Batcher(stops, lambda asked, error: f"refused: {error}", limits=LIMITS, worker=Worker(loop), loop=loop)
    assert await batcher.submit(1, kind="k", rows=1) == "refused: odd"


async def test_one_whose_turn_does_not_come_in_time_is_refused_and_never_scored():
    gate = threading.Event()
    model = Model(gate)
    batcher = made(model, dataclasses.replace(LIMITS, patience=Patience(wait_max_s=0.05)))
    first = batcher.submit(1, kind="k", rows=1)
    await asyncio.to_thread(model.entered.wait, 10)
    assert await batcher.submit(2, kind="k", rows=1) == "refused: WaitedTooLong()"
    gate.set()
    assert await first == "2"
    assert await batcher.submit(3, kind="k", rows=1) == "6"
    assert model.calls == [[1], [3]]


async def test_a_call_that_lasts_too_long_is_given_up_and_the_next_is_done_when_it_returns():
    gate = threading.Event()
    model = Model(gate)
    batcher = made(model, dataclasses.replace(LIMITS, patience=Patience(call_max_s=0.05)))
    together = [batcher.submit(number, kind="k", rows=1) for number in (1, 2)]
    assert await asyncio.gather(*together) == ["refused: TookTooLong()"] * 2
    next_one = batcher.submit(3, kind="k", rows=1)
    assert not next_one.done(), "it waits for the thread"
    gate.set()
    assert await next_one == "6"
