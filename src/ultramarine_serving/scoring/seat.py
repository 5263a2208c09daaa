"""A worker process's place in its replica: what it tells the others, and what it knows of them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ultramarine_serving.http.listening import SharedSocket
from ultramarine_serving.parent import end_with_parent

from .board import FOREVER, Board, State

FAILURE = "failure"  #: among the figures of a worker that could not load: the words for it
_WORDS_MAX = 2000
_SLACK_S = 5.0


class Seat:
    """One worker's. Its socket and its board were opened by the parent."""

    def __init__(self, number: int, board: Board, listening: socket.socket) -> None:
        self.number = number
        self._board = board
        self._listening = listening

    @classmethod
    def take(cls, told: str) -> Seat:
        """From what the parent has written; it ends with the parent from now on. Raises ValueError."""
        number, places, listening, board, parent = [int(each) for each in told.split(",")]
        end_with_parent(parent)
        made = socket.socket(fileno=listening)
        made.setblocking(False)
        for descriptor in (listening, board):  # not for the programs that a script starts
            os.set_inheritable(descriptor, False)
        return cls(number, Board(board, places=places), made)

    def share(self) -> SharedSocket:
        """The replica's socket, for this worker."""
        return SharedSocket(self._listening, self._gives_way)

    @property
    def is_open(self) -> bool:
        """Whether the replica has begun to answer."""
        return self._board.is_open

    @property
    def is_another_well(self) -> bool:
        """Whether another one answers."""
        return any(self._board.is_well(place) for place in self._others)

    @property
    def is_another_alive(self) -> bool:
        """Whether another one answers, or is about to."""
        return any(
            self._board.is_well(place) or self._board.state(place) in (State.LOADING, State.OVERDUE)
            for place in self._others
        )

    def tell(self, state: State, *, connections: int, silence_max_s: float, figures: Mapping[str, object]) -> None:
        """How it is. `silence_max_s`: if nothing is told for longer, it hangs. (A model may load for ever.)"""
        until = FOREVER if state is State.LOADING else time.monotonic() + silence_max_s + _SLACK_S
        self._board.tell_connections(self.number, connections)
        self._board.tell(self.number, state, alive_until=until, figures=figures)
        if state is State.READY:
            self._board.open_if_all_are_ready()

    def tell_failure(self, words: str) -> None:
        """Why it ends, for the parent to say."""
        self._board.tell(self.number, State.LOADING, alive_until=FOREVER, figures={FAILURE: words[:_WORDS_MAX]})

    def figures_of_others(self) -> Sequence[Mapping[str, Any]]:
        return [self._board.figures(place) for place in self._others]

    def _gives_way(self, mine: int) -> bool:
        """Whether one that answers has fewer connections than we."""
        self._board.tell_connections(self.number, mine)
        return any(self._board.connections(place) < mine and self._board.is_well(place) for place in self._others)

    @property
    def _others(self) -> Sequence[int]:
        return [place for place in range(self._board.places) if place != self.number]


def written(number: int, board: Board, listening: int) -> str:
    """What `Seat.take` reads."""
    return ",".join(str(each) for each in (number, board.places, listening, board.descriptor, os.getpid()))
