"""What the worker processes of a replica know of each other: memory that all of them map, where each writes its place.

Nobody waits for it. Each number is written and read in one piece; what stands behind them is read again where it does
not fit its checksum.
"""

from __future__ import annotations

import json
import mmap
import os
import time
import zlib
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, cast

PLACE_BYTES = 16 * 1024
FRESH_S = 2.0  #: whoever has said nothing for longer is not counted on
FOREVER = float("inf")
_STATE, _CONNECTIONS, _TOLD_AT, _ALIVE_UNTIL, _LENGTH, _CHECKSUM, _NUMBERS = range(7)
_NUMBER_BYTES = 8
_PLACE_NUMBERS = PLACE_BYTES // _NUMBER_BYTES
_HEAD_BYTES = _NUMBERS * _NUMBER_BYTES
_READS = 5


class State(IntEnum):
    LOADING = 0
    READY = 1
    OVERDUE = 2  #: a call goes on after its time-out
    HANGS = 3  #: and does so for longer than it may


class Board:
    """The places of all workers. Times are of the monotonic clock, which is one for all processes."""

    def __init__(self, descriptor: int, *, places: int) -> None:
        self.descriptor = descriptor
        self.places = places
        self._memory = mmap.mmap(descriptor, (places + 1) * PLACE_BYTES)
        # Floats, for those are copied whole; `struct` would write zeros before it writes numbers.
        self._numbers = memoryview(self._memory).cast("d")

    @classmethod
    def create(cls, places: int) -> Board:
        """A new one, of memory that others can be given by its descriptor."""
        descriptor = os.memfd_create("scoring")
        os.ftruncate(descriptor, (places + 1) * PLACE_BYTES)
        board = cls(descriptor, places=places)
        for place in range(places):
            board.clear(place)
        return board

    # Whether the replica has begun to answer: in front of all places

    @property
    def is_open(self) -> bool:
        """Whether all workers were ready at one time."""
        return self._numbers[0] == 1.0

    def open_if_all_are_ready(self) -> None:
        if all(self.state(place) is State.READY for place in range(self.places)):
            self._numbers[0] = 1.0

    # A worker's own place

    def clear(self, place: int) -> None:
        """A worker is about to begin."""
        self.tell(place, State.LOADING, alive_until=FOREVER, figures={})
        self.tell_connections(place, 0)

    def tell(self, place: int, state: State, *, alive_until: float, figures: Mapping[str, object]) -> None:
        """`alive_until`: if nothing more is told by then, it hangs."""
        written = json.dumps(figures, separators=(",", ":")).encode()
        if len(written) > PLACE_BYTES - _HEAD_BYTES:
            written = b"{}"
        at = _first(place) * _NUMBER_BYTES + _HEAD_BYTES
        self._memory[at : at + len(written)] = written
        self._set(place, _LENGTH, len(written))
        self._set(place, _CHECKSUM, zlib.crc32(written))
        self._set(place, _STATE, state)
        self._set(place, _ALIVE_UNTIL, alive_until)
        self._set(place, _TOLD_AT, time.monotonic())

    def tell_connections(self, place: int, count: int) -> None:
        """How many it has. It is told whenever one is about to be accepted."""
        self._set(place, _CONNECTIONS, count)

    # Those of all

    def state(self, place: int) -> State:
        return State(int(self._get(place, _STATE)))

    def connections(self, place: int) -> int:
        return int(self._get(place, _CONNECTIONS))

    def alive_until(self, place: int) -> float:
        return self._get(place, _ALIVE_UNTIL)

    def is_well(self, place: int) -> bool:
        """Whether it answers: it is ready, and has said so lately."""
        return self.state(place) is State.READY and time.monotonic() - self._get(place, _TOLD_AT) < FRESH_S

    def figures(self, place: int) -> Mapping[str, Any]:
        """What it told last; nothing where that is being written again and again."""
        at = _first(place) * _NUMBER_BYTES + _HEAD_BYTES
        for _ in range(_READS):
            written = self._memory[at : at + int(self._get(place, _LENGTH))]
            if zlib.crc32(written) == self._get(place, _CHECKSUM):
                return cast("Mapping[str, Any]", json.loads(written))
        return {}

    def _get(self, place: int, number: int) -> float:
        return self._numbers[_first(place) + number]

    def _set(self, place: int, number: int, value: float) -> None:
        self._numbers[_first(place) + number] = value


def _first(place: int) -> int:
    return (place + 1) * _PLACE_NUMBERS
